"""A webhook as the fields of a form, and back to members of the API's bodies. Fields are named as the API names them,
without `contract.` and `authorization.`. Pure."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from dispatcher.api.webhooks.documents import WebhookDocument
from dispatcher.console.forms import Form, Problems
from dispatcher.errors import InvalidWebhook
from dispatcher.web.problems import Problem
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.contract_texts import (
    read_body_signature,
    read_members,
    read_rules,
    show_rule,
    show_signature,
)

AUTHORIZATIONS: Mapping[str, tuple[str, ...]] = {
    "basic": ("username", "password"),
    "bearer": ("token",),
    "client_credentials": ("endpoint", "client_id", "client_secret", "scope", "response_type", "token_request"),
}
GIVEN = "given"  # a signing key that the receiver has already
_PLAIN = ("name", "app", "contact_email")
_SECRETS = ("body_secret", "nonce_secret")


def number_of(text: str) -> object:
    """A number, or the text, which the check of the body then refuses in its own words."""
    try:
        return json.loads(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else text
    except ValueError:
        return text


# member of the contract -> how its field is read
_CONTRACT: Mapping[str, Callable[[str], object]] = {
    "method": str,
    "envelope": str,
    "members": lambda text: read_members(_lines(text)),
    "content_type": str,
    "user_agent": str,
    "timeout_seconds": number_of,
    "schedule": str,
    "rules": lambda text: read_rules(_lines(text)),
    "batch_size": number_of,
    "retry_alone": bool,
    "rate_limit": number_of,
    "circuit_breaker": bool,
    "body_signature": read_body_signature,
    "nonce_signature": lambda text: {"header": text},
    "https_only": bool,
}
_FLAGS = frozenset(name for name, read in _CONTRACT.items() if read is bool)


def values_of(document: WebhookDocument | None) -> dict[str, str]:
    """What the fields show of a webhook, or of one that is not made yet. What is secret is empty, as what has no
    value."""
    contract = document.contract if document is not None else DeliveryContract()
    assert contract is not None
    found = {
        "account": "",
        "url": "",
        "event_types": "\n".join(document.event_types) if document is not None else "",
        "enabled": "true",
        "authorization": "",
        "headers": "",
        "headers_removed": "",
        "signing": "hmac" if document is None else "",
        "signing_key": "",
        "skip_url_verification": "",
        **dict.fromkeys(_SECRETS, ""),
        **{name: "" for names in AUTHORIZATIONS.values() for name in names},
        "token_request": "basic",
        "method": contract.method.value,
        "envelope": contract.envelope.value,
        "members": "\n".join(f"{name}={holds}" for name, holds in contract.members),
        "content_type": contract.content_type.value,
        "user_agent": contract.user_agent or "",
        "timeout_seconds": f"{contract.timeout_seconds:g}",
        "schedule": contract.schedule,
        "rules": "\n".join(show_rule(code, rule) for code, rule in sorted(contract.rules.items())),
        "batch_size": str(contract.batch_size),
        "retry_alone": _flag(contract.retry_alone),
        "rate_limit": f"{contract.rate_limit:.12g}" if contract.rate_limit is not None else "",
        "circuit_breaker": _flag(contract.circuit_breaker),
        "body_signature": show_signature(contract.body_signature) or "",
        "nonce_signature": contract.nonce_signature.header if contract.nonce_signature is not None else "",
        "https_only": _flag(contract.https_only),
    }
    return found | {name: getattr(document, name, None) or "" for name in _PLAIN}


def filled(form: Form, shown: Mapping[str, str]) -> dict[str, str]:
    """The fields as they were sent. A box that is not ticked is not sent."""
    return {name: _sent(form, name) for name in shown}


def members_of_form(form: Form, shown: Mapping[str, str]) -> dict[str, str]:
    """The members of a body, each as JSON: those whose fields were changed from what the form had shown. Raises
    InvalidWebhook for what cannot be read."""
    sent = filled(form, shown)
    changed = {name for name, value in sent.items() if value != shown[name]}
    found: dict[str, Any] = {}
    if "url" in changed:
        found["url"] = sent["url"]
    if "event_types" in changed:
        found["event_types"] = [name for name in re.split(r"[\s,]+", sent["event_types"]) if name]
    found |= {name: sent[name] or None for name in _PLAIN if name in changed}
    found |= {name: sent[name] for name in _SECRETS if name in changed}
    contract = {name: read(sent[name]) if sent[name] else None for name, read in _CONTRACT.items() if name in changed}
    contract |= {name: bool(sent[name]) for name in _FLAGS & changed}
    if contract:
        found["contract"] = contract
    if sent["authorization"]:
        found["authorization"] = _authorization(sent)
    if sent["headers"] or sent["headers_removed"]:
        found["headers"] = dict(map(_header, _lines(sent["headers"])))
    if sent["signing"] == GIVEN:
        found["signing_key"] = sent["signing_key"]
    elif "signing" in changed:
        found["signing"] = {"kind": sent["signing"]}
    return members_of_json(**found)


def members_of_json(**members: object) -> dict[str, str]:
    """The members of a body as the checks of bodies take them: each as its JSON."""
    return {name: json.dumps(value) for name, value in members.items()}


def problems_of(problem: Problem) -> Problems:
    """Why the body of a form was refused, by the names of the form's fields; what is about no field of it has no
    name."""
    found: dict[str, str] = {}
    for place, reason in problem.errors or (("", problem.detail),):
        field, inner = _field_of(place)
        found.setdefault(field, f"{inner}: {reason}" if inner else reason)
    return Problems(found)


def _field_of(place: str) -> tuple[str, str]:
    first, _, rest = place.partition(".")
    if first == "contract" or (first == "authorization" and rest):
        first, _, rest = rest.partition(".")
    return ("signing", "") if first == "signing" else (first, rest)


def _authorization(sent: Mapping[str, str]) -> dict[str, str] | None:
    kind = sent["authorization"]
    members = {name: sent[name] for name in AUTHORIZATIONS.get(kind, ()) if sent[name]}
    return None if kind == "none" else {"kind": kind, **members}


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise InvalidWebhook("headers", "must be one a line, such as X-Tenant: acme")
    return name.strip(), value.strip()


def _sent(form: Form, name: str) -> str:
    return "\n".join(form.lines(name)) if "\n" in form[name] else form[name]


def _lines(text: str) -> list[str]:
    return text.splitlines()


def _flag(value: bool) -> str:
    return "true" if value else ""
