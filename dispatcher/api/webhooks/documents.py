"""Webhooks as the API shows them: secrets are masked, except in answers that hand them out."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from dispatcher.receiver_auth.credentials import TokenRequest
from dispatcher.signing.keys import KeyKind
from dispatcher.web.bodies import SECRET
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.health import circuit_state
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.secrets import WebhookSecrets, shown_secrets


class SigningKeyDocument(BaseModel):
    """A key that signs callbacks. Keys are listed newest first."""

    kind: KeyKind
    secret: Annotated[
        str, Field(repr=False, description="Masked, except in answers that hand it out.", json_schema_extra={**SECRET})
    ]
    public_key: Annotated[str | None, Field(description="Of an ed25519 key: what receivers verify with.")]
    until: Annotated[
        datetime | None, Field(description="When it stops signing, after a rotation; null for the newest key.")
    ]


class AuthorizationDocument(BaseModel):
    """The credentials that callbacks carry, without the secret. Members of other kinds are null."""

    kind: Literal["basic", "bearer", "client_credentials"]
    username: str | None = None
    password: str | None = None
    token: str | None = None
    endpoint: Annotated[str | None, Field(description="As given, masked.")] = None
    client_id: str | None = None
    client_secret: str | None = None
    scope: str | None = None
    response_type: str | None = None
    token_request: TokenRequest | None = None


class WebhookDocument(BaseModel):
    """A webhook. `***` replaces a secret."""

    id: UUID
    account: str
    app: str | None
    name: str | None
    dialect: Annotated[str | None, Field(description="The dialect it was created through; null for this API.")]
    url: Annotated[str, Field(description="As given, masked.")]
    event_types: list[str]
    contact_email: str | None
    enabled: bool
    disabled_at: datetime | None
    disabled_by: Annotated[
        str | None,
        Field(description="In words: `API key` with its id, `an operator`, `command line`, `response rule` and so on."),
    ]
    disabled_reason: str | None
    circuit: Annotated[Literal["open", "closed"], Field(description="Open: the webhook keeps failing; see its health.")]
    quarantined_at: Annotated[
        datetime | None,
        Field(description="Since when it is quarantined: workers could not read it, and its deliveries wait."),
    ]
    quarantined_reason: str | None
    unreadable: Annotated[
        str | None,
        Field(
            description="Why this version cannot read its contract or secrets, which are then null or empty here: they "
            "are damaged, or a newer version wrote them."
        ),
    ]
    contract: DeliveryContract | None
    authorization: AuthorizationDocument | None
    headers: dict[str, str]
    signing_keys: list[SigningKeyDocument]
    body_secret: str | None
    nonce_secret: str | None
    created_at: datetime
    updated_at: datetime


class WebhookSecretsDocument(BaseModel):
    """What a webhook's owner may see in clear. Passwords and other secrets are never shown."""

    url: Annotated[str, Field(repr=False, description="As given.", json_schema_extra={**SECRET})]
    signing_keys: list[SigningKeyDocument]


def webhook_document(registered: Registered, *, keys: bool = False) -> WebhookDocument:
    """The webhook's document. With `keys`, its signing keys are in clear."""
    webhook, unreadable = registered.webhook, registered.unreadable
    secrets = registered.secrets if unreadable is None else WebhookSecrets()
    return WebhookDocument(
        id=webhook.id,
        account=registered.owner.name,
        app=webhook.app,
        name=webhook.name,
        dialect=webhook.dialect,
        url=webhook.url_masked,
        event_types=webhook.event_types,
        contact_email=webhook.contact_email,
        enabled=webhook.enabled,
        disabled_at=webhook.disabled_at,
        disabled_by=webhook.disabled_by,
        disabled_reason=webhook.disabled_reason,
        circuit=circuit_state(registered.circuit_breaker),
        quarantined_at=webhook.quarantined_at,
        quarantined_reason=webhook.quarantined_reason,
        unreadable=unreadable,
        contract=registered.contract if unreadable is None else None,
        created_at=webhook.created_at,
        updated_at=webhook.updated_at,
        **shown_secrets(secrets, keys=keys),
    )


def secrets_document(registered: Registered) -> WebhookSecretsDocument:
    """The URL and the signing keys in clear."""
    keys: list[Any] = shown_secrets(registered.secrets, keys=True)["signing_keys"]
    return WebhookSecretsDocument(url=registered.url, signing_keys=keys)
