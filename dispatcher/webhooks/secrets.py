"""All secrets of a webhook but its URL, as one value: what its encrypted document holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dispatcher.errors import InvalidWebhook, Unreadable
from dispatcher.masking.refusals import first_refusal
from dispatcher.masking.urls import MASK
from dispatcher.receiver_auth.credentials import (
    Authorization,
    masked_authorization,
    read_authorization,
    shown_authorization,
    write_authorization,
)
from dispatcher.signing.keys import SigningKey, read_signing_keys, write_signing_keys


@dataclass(frozen=True, slots=True)
class WebhookSecrets:
    """`signing_keys` sign by Standard Webhooks, the newest first; `body_secret` and `nonce_secret` are the keys of the
    contract's two other signatures. `headers` are the customer's own."""

    authorization: Authorization | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    signing_keys: tuple[SigningKey, ...] = ()
    body_secret: str | None = field(default=None, repr=False)
    nonce_secret: str | None = field(default=None, repr=False)


_HEADERS = TypeAdapter(dict[str, str])
_SECRET = TypeAdapter(str | None)


def read_secrets(document: Mapping[str, Any]) -> WebhookSecrets:
    """What an opened document of this format (`contract.FORMAT`) or an older one holds. Members that this version does
    not know are passed over. Raises Unreadable, whose text repeats nothing of the document."""
    try:
        return WebhookSecrets(
            authorization=read_authorization(document),
            headers=_HEADERS.validate_python(document.get("headers", {})),
            signing_keys=read_signing_keys(document.get("signing_keys", ())),
            body_secret=_SECRET.validate_python(document.get("body_secret")),
            nonce_secret=_SECRET.validate_python(document.get("nonce_secret")),
        )
    except InvalidWebhook as error:
        raise Unreadable(f"its stored secrets cannot be read: {error}") from None
    except ValidationError as error:
        place, reason = first_refusal(error)
        raise Unreadable(f"its stored secrets cannot be read: {place or 'a member'} {reason}") from None


def write_secrets(secrets: WebhookSecrets) -> dict[str, Any]:
    """The document; empty members are left out."""
    document: dict[str, Any] = write_authorization(secrets.authorization) if secrets.authorization else {}
    members = {
        "headers": dict(secrets.headers),
        "signing_keys": write_signing_keys(secrets.signing_keys),
        "body_secret": secrets.body_secret,
        "nonce_secret": secrets.nonce_secret,
    }
    return document | {name: value for name, value in members.items() if value}


def masked_secrets(secrets: WebhookSecrets) -> WebhookSecrets:
    """The same without anything secret, for answers that have their form from a vendor."""
    return WebhookSecrets(
        authorization=masked_authorization(secrets.authorization) if secrets.authorization else None,
        headers=dict.fromkeys(secrets.headers, MASK),
        body_secret=MASK if secrets.body_secret else None,
        nonce_secret=MASK if secrets.nonce_secret else None,
    )


def shown_secrets(secrets: WebhookSecrets, *, keys: bool = False) -> dict[str, Any]:
    """The secrets as they may be shown, each masked; with `keys` the signing keys are not masked. Times are UTC."""
    return {
        "authorization": shown_authorization(secrets.authorization) if secrets.authorization else None,
        "headers": dict.fromkeys(secrets.headers, MASK),
        "signing_keys": [
            {
                "kind": key.kind,
                "secret": key.secret if keys else key.masked,
                "public_key": key.public_key,
                "until": key.until,
            }
            for key in secrets.signing_keys
        ],
        "body_secret": MASK if secrets.body_secret else None,
        "nonce_secret": MASK if secrets.nonce_secret else None,
    }
