"""What a change did to a webhook, as the audit log keeps it: no secret, no unmasked URL, no contact address."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dispatcher.db.models import Webhook

_SHOWN = ("app", "dialect", "disabled_reason", "enabled", "event_types", "name", "url_masked")
_NAMED_ONLY = ("contact_email", "dialect_fields", "url_digest")
_MOST = 4_000  # characters of all old and new values: whoever may change a webhook may do so all the time


def fields_now(webhook: Webhook) -> dict[str, Any]:
    """The webhook's current fields without its encrypted secrets: for `changed_fields`."""
    contract = webhook.contract if isinstance(webhook.contract, dict) else {}  # whatever is stored can be replaced
    members = {f"contract.{member}": value for member, value in contract.items()}
    return {name: getattr(webhook, name) for name in (*_SHOWN, *_NAMED_ONLY)} | members


def changed_fields(
    before: Mapping[str, Any], after: Mapping[str, Any], secrets: Iterable[str], *, respelled: bool = False
) -> dict[str, Any]:
    """Each field that changed, by name, with its `old` and `new` value (None: none, or the default), or with None if
    the values are not kept: because of what they are, or because they are too long with those before them. `secrets`
    are the names of those that changed; `respelled`: the URL is written differently, possibly only in a part that is
    masked."""
    # Two URLs can have the same masked form, two spellings have one digest, and what differs can be masked as well.
    values = {}
    if respelled or any(before.get(name) != after[name] for name in ("url_digest", "url_masked")):
        values["url"] = before.get("url_masked"), after["url_masked"]
    for name in {**before, **after}:
        if before.get(name) != after.get(name) and name not in {"url_digest", "url_masked"}:
            values[name] = before.get(name), after.get(name)
    changed: dict[str, Any] = dict.fromkeys(secrets)
    left = _MOST
    for name, (old, new) in values.items():
        size = len(json.dumps((old, new)))
        is_kept = name not in _NAMED_ONLY and size <= left
        changed[name] = {"old": old, "new": new} if is_kept else None
        left -= size if is_kept else 0
    return changed
