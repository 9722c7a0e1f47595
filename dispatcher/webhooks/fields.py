"""What a webhook is made of, and the checks of each field. Pure."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from email.errors import MessageError
from email.headerregistry import Address
from typing import Any, TypedDict

from dispatcher.errors import InvalidWebhook
from dispatcher.event_types import ALL, RULE, is_event_type
from dispatcher.receiver_auth.credentials import (
    MAX_SECRET,
    Authorization,
    check_authorization,
    check_headers,
)
from dispatcher.signing.keys import SigningKey, check_signing_key
from dispatcher.signing.schemes import NONCE_HEADERS
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.secrets import WebhookSecrets

MAX_EVENT_TYPES = 100


class WebhookFields(TypedDict, total=False):
    """What a webhook is made of; in a change, only what is given changes."""

    url: str
    event_types: Sequence[str]  # types, prefixes of whole parts, or `*`
    name: str | None  # unique in its account, where given
    app: str | None
    contact_email: str | None
    contract: dict[str, Any]  # a DeliveryContract as JSON
    contract_changes: dict[str, Any]  # in its place in a change: members that change; None: the default again
    authorization: Authorization | None
    headers: Mapping[str, str]  # sent with each callback
    signing_keys: Sequence[SigningKey]  # none: not signed by Standard Webhooks
    body_secret: str | None  # of the contract's body_signature
    nonce_secret: str | None  # of its nonce_signature
    dialect_fields: dict[str, Any]  # what only its dialect has


SECRETS = ("authorization", "headers", "signing_keys", "body_secret", "nonce_secret")


def check_event_types(names: Sequence[str], *, least: int) -> list[str]:
    if isinstance(names, str) or not least <= len(names) <= MAX_EVENT_TYPES:
        raise InvalidWebhook("event_types", f"must be a list of {least} to {MAX_EVENT_TYPES} event types or prefixes")
    for name in names:
        if name != ALL and not is_event_type(name):
            raise InvalidWebhook("event_types", f"{RULE}, or `{ALL}` for all; a prefix takes all below it")
    return list(dict.fromkeys(names))


def check_text(field: str, value: str | None) -> str | None:
    if value is not None and (not 1 <= len(value) <= 255 or not value.isprintable()):
        raise InvalidWebhook(field, "must have 1 to 255 printable characters")
    return value


def check_email(value: str | None) -> str | None:
    if value is None:
        return None
    address = None
    # Only what is short is taken apart: the parser goes one call deeper with each bracket. `=?` begins an encoded word.
    if len(value) <= 254 and value.isascii() and value.isprintable() and "=?" not in value:
        with suppress(ValueError, MessageError, IndexError):
            address = Address(addr_spec=value)
    if address is None or not address.username or not address.domain or address.addr_spec != value:
        raise InvalidWebhook("contact_email", "must be one plain mail address")
    return value


def changed_secrets(kept: WebhookSecrets, fields: WebhookFields, contract: DeliveryContract) -> WebhookSecrets:
    """The secrets with what is given put in, and without those that the contract has no use for."""
    changed = replace(kept, **{name: fields[name] for name in SECRETS if name in fields})  # type: ignore[literal-required]
    changed = replace(
        changed,
        body_secret=_signature_secret("body", contract.body_signature, changed.body_secret),
        nonce_secret=_signature_secret("nonce", contract.nonce_signature, changed.nonce_secret),
    )
    headers = check_headers(changed.headers)
    signed = [contract.body_signature.header] if contract.body_signature else []
    if contract.nonce_signature:
        signed += [contract.nonce_signature.header + ending for ending in ("", *NONCE_HEADERS)]
    if taken := {name.lower() for name in signed} & {name.lower() for name in headers}:
        raise InvalidWebhook("headers", f"hold {min(taken)}, which carries a signature")
    return replace(
        changed,
        authorization=check_authorization(changed.authorization) if changed.authorization else None,
        headers=headers,
        signing_keys=tuple(replace(check_signing_key(key.secret), until=key.until) for key in changed.signing_keys),
    )


def _signature_secret(name: str, signature: object, secret: str | None) -> str | None:
    if signature is None:
        return None
    if secret is None:
        raise InvalidWebhook(f"{name}_secret", f"is required for a {name}_signature")
    if not 1 <= len(secret) <= MAX_SECRET or not secret.isprintable():
        raise InvalidWebhook(f"{name}_secret", f"must have 1 to {MAX_SECRET} printable characters")
    return secret
