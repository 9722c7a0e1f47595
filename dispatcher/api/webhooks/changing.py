"""What a request about a webhook does, whether it comes to the API or from a page. Fields that are refused are named as
the engine names them: `dispatcher.api.webhooks.fields.fields_as_given` gives them the names of the bodies."""

from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.api_keys import Caller
from dispatcher.accounts.audit import Action
from dispatcher.api.webhooks.access import is_url_verified, owner_of
from dispatcher.api.webhooks.bodies import NewWebhook, Rotation, WebhookChanges
from dispatcher.api.webhooks.fields import fields_of_changes, fields_of_new, key_of_rotation
from dispatcher.dialects.rules import keep_to_dialect
from dispatcher.egress.urls import comparable_url
from dispatcher.installation import Installation
from dispatcher.web.ownership import account_named
from dispatcher.web.problems import invalid
from dispatcher.web.quotas import TEST_EVENT, URL_VERIFICATION
from dispatcher.web.serving import Serving
from dispatcher.webhooks.fields import Checked
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.registration import change, register, rotate_signing_key, verify_url
from dispatcher.webhooks.sample_event import DATA, Called, call_webhook
from dispatcher.webhooks.store import Webhooks

_ELSEWHERE = "must be given again or removed: the URL leads to another origin, and you may not see what it would learn"
# A change to any of these invalidates an earlier URL verification.
_VERIFIED_FIELDS = frozenset({"url", "contract", "authorization", "headers"})


def create_webhook(serving: Serving, caller: Caller, body: NewWebhook, *, by: Actor) -> Registered:
    """Makes it. Raises what `register` does, and Problem 403, 422 and 429."""
    url_verification = is_url_verified(caller, skip=body.skip_url_verification)
    name = account_named(caller, body.account)
    return register(
        serving.installation,
        caller.account_id or name,
        by=by,
        enabled=body.enabled,
        url_verification=url_verification,
        before_verification=partial(serving.rates.spend, caller, URL_VERIFICATION),
        **fields_of_new(body),
    )


def change_webhook(
    serving: Serving,
    caller: Caller,
    webhook_id: UUID,
    body: WebhookChanges,
    *,
    by: Actor,
    sees_secrets: bool = True,
) -> Registered:
    """Changes what is given. Raises what `change` does, Problem 403 and 429, and Problem 422 if somebody who does not
    see secrets (`sees_secrets`) would have them sent to another origin."""
    given = body.model_fields_set
    enabled = body.enabled if "enabled" in given else None
    return change(
        serving.installation,
        caller.account_id,
        webhook_id,
        by=by,
        enabled=enabled,
        url_verification=is_url_verified(caller, skip=body.skip_url_verification)
        and bool(given & _VERIFIED_FIELDS or enabled),
        before_verification=partial(serving.rates.spend, caller, URL_VERIFICATION),
        rule=keep_to_dialect if sees_secrets else _keep_secrets_here,
        **fields_of_changes(body),
    )


def _keep_secrets_here(webhooks: Webhooks, kept: Registered, checked: Checked) -> None:
    """A rule for changes: what callbacks carry for one receiver is not sent to another, who may belong to whoever makes
    the change."""
    keep_to_dialect(webhooks, kept, checked)
    if checked.url is None or _origin_of(checked.url.called) == _origin_of(kept.called_url):
        return
    carried = [name for name in ("authorization", "headers") if getattr(kept.secrets, name)]
    if left := [name for name in carried if name not in checked.given]:
        raise invalid(*((name, _ELSEWHERE) for name in left))


def _origin_of(called: str) -> tuple[str, str]:
    return urlsplit(comparable_url(called))[:2]


def enable_webhook(serving: Serving, caller: Caller, webhook_id: UUID, *, by: Actor, skip: bool) -> Registered:
    """Enables it after its URL was verified, unless that is to be skipped. Raises as `change_webhook`."""
    return change(
        serving.installation,
        caller.account_id,
        webhook_id,
        enabled=True,
        by=by,
        url_verification=is_url_verified(caller, skip=skip),
        before_verification=partial(serving.rates.spend, caller, URL_VERIFICATION),
    )


def verify_webhook_url(serving: Serving, caller: Caller, webhook_id: UUID, *, by: Actor) -> str:
    """Verifies its URL alone, and returns what came back. Raises what `verify_url` does, and Problem 429."""
    spend = partial(serving.rates.spend, caller, URL_VERIFICATION)
    return verify_url(serving.installation, caller.account_id, webhook_id, by=by, before_verification=spend)


def rotate_webhook_key(
    installation: Installation, caller: Caller, webhook_id: UUID, body: Rotation, *, by: Actor
) -> Registered:
    """Gives it a new signing key. Raises NotFound and InvalidWebhook."""
    overlap, new = timedelta(seconds=body.overlap_seconds), key_of_rotation(body)
    return rotate_signing_key(installation, caller.account_id, webhook_id, new, overlap=overlap, by=by)


def show_webhook_secrets(installation: Installation, caller: Caller, webhook_id: UUID, *, by: Actor) -> Registered:
    """The webhook, for an answer with its URL and signing keys in clear. Raises NotFound and Unreadable."""
    with installation.transaction() as session:
        found = Webhooks(session, installation).read(caller.account_id, webhook_id)
        found.url, found.secrets  # noqa: B018 - what cannot be read is not shown, so nothing is noted
        audit.write(session, by, Action.WEBHOOK_SECRETS_SHOWN, webhook_id, account=found.owner.id, detail={})
    return found


def send_test_event(
    serving: Serving, caller: Caller, webhook_id: UUID, *, by: Actor, event_type: str, data: bytes | None
) -> Called:
    """Sends it an event of this type; without `data` (JSON), a small sample. Raises what `call_webhook` does, and
    Problem 429."""
    owner = owner_of(serving.installation, caller, webhook_id)
    serving.rates.check_stored(caller)
    serving.rates.spend(caller, TEST_EVENT)
    return call_webhook(serving.installation, owner.id, webhook_id, by=by, event_type=event_type, data=data or DATA)
