"""What requests about webhooks hold, and the webhook's fields that it stands for."""

from typing import Annotated, Any, Literal, Optional, TypeAlias

from pydantic import ConfigDict, Field, SecretStr, create_model

from dispatcher.egress.urls import MAX_URL
from dispatcher.receiver_auth.credentials import TokenRequest
from dispatcher.signing.keys import MAX_OVERLAP, KeyKind
from dispatcher.web.bodies import Body
from dispatcher.web.ownership import Name
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.fields import MAX_EVENT_TYPES

_KIND = Field(description="Which kind of authorization it is.")


class BasicBody(Body):
    """HTTP Basic."""

    kind: Annotated[Literal["basic"], _KIND]
    username: Annotated[str, Field(description="What the receiver knows callbacks by.")]
    password: Annotated[SecretStr, Field(description="Kept encrypted, never shown.")]


class BearerBody(Body):
    """A token that does not change."""

    kind: Annotated[Literal["bearer"], _KIND]
    token: Annotated[SecretStr, Field(description="Kept encrypted, never shown.")]


class ClientCredentialsBody(Body):
    """OAuth2 client credentials: a token is fetched from `endpoint`."""

    kind: Annotated[Literal["client_credentials"], _KIND]
    endpoint: Annotated[str, Field(repr=False, description="The URL where tokens are fetched.")]
    client_id: Annotated[str, Field(description="Whom the token server knows.")]
    client_secret: Annotated[SecretStr, Field(description="Kept encrypted, never shown.")]
    scope: Annotated[str | None, Field(description="Asked for with the token.")] = None
    response_type: Annotated[str | None, Field(description="Sent along, for token servers that want it.")] = None
    token_request: TokenRequest = TokenRequest.BASIC


class SigningBody(Body):
    """The kind of key that is made."""

    kind: Annotated[Literal["hmac", "ed25519", "none"], Field(description="`none`: callbacks carry no signature.")]


AuthorizationBody: TypeAlias = BasicBody | BearerBody | ClientCredentialsBody

Url = Annotated[str, Field(max_length=MAX_URL, repr=False, description="Kept encrypted, shown masked.")]
EventTypes = Annotated[
    list[str],
    Field(
        min_length=1,
        max_length=MAX_EVENT_TYPES,
        description="Event types, prefixes of whole parts, or `*` for all.",
        examples=[["message"]],
    ),
]
Label = Annotated[str | None, Field(description="A name, unique in its account.")]
App = Annotated[str | None, Field(description="Take only this app's events.")]
Contact = Annotated[str | None, Field(description="Mail address that is told about problems.")]
AuthorizationGiven = Annotated[
    AuthorizationBody | None,
    Field(discriminator="kind", description="What callbacks show so that their receiver lets them in."),
]
BodySecret = Annotated[SecretStr | None, Field(description="The key of the contract's `body_signature`.")]
NonceSecret = Annotated[SecretStr | None, Field(description="The key of its `nonce_signature`.")]
SigningKeyGiven = Annotated[
    SecretStr | None, Field(description="A key that the receiver has already: `whsec_...` or `whsk_...`.")
]
SkipUrlVerification = Annotated[bool, Field(description="With an operator's key only: do not test the URL.")]


class NewWebhook(Body):
    """A webhook to be made."""

    url: Url
    event_types: EventTypes
    account: Annotated[Name | None, Field(description="Only with an operator's key, and then required.")] = None
    name: Label = None
    app: App = None
    contact_email: Contact = None
    enabled: Annotated[bool, Field(description="False: register it, but deliver nothing yet.")] = True
    contract: Annotated[
        DeliveryContract, Field(default_factory=DeliveryContract, description="How it is delivered; all has a default.")
    ]
    authorization: AuthorizationGiven = None
    headers: Annotated[
        dict[str, str], Field(repr=False, default_factory=dict, description="Sent with each callback; shown masked.")
    ]
    signing: SigningBody = SigningBody(kind="hmac")
    signing_key: SigningKeyGiven = None
    body_secret: BodySecret = None
    nonce_secret: NonceSecret = None
    skip_url_verification: SkipUrlVerification = False


def _without_defaults(schema: dict[str, Any]) -> None:
    """What is left out of a change stays as it is."""
    for member in schema["properties"].values():
        member.pop("default", None)


_CHANGES = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, json_schema_extra=_without_defaults)

_members: Any = {
    name: (Annotated[Optional[field.annotation], *field.metadata, Field(description=field.description)], None)  # noqa: UP045 - one may be None
    for name, field in DeliveryContract.model_fields.items()
}
ContractChanges = create_model(
    "ContractChanges",
    __config__=_CHANGES,
    __doc__="Members of the delivery contract that change; null: the default again.",
    **_members,
)


class WebhookChanges(Body):
    """What changes of a webhook: the members that are there; null takes away what can be taken away."""

    model_config = _CHANGES

    url: Url = ""
    event_types: EventTypes = Field(default_factory=list)
    name: Label = None
    app: App = None
    contact_email: Contact = None
    enabled: Annotated[bool, Field(description="False: deliver nothing for now. True: deliver again.")] = True
    contract: Annotated[ContractChanges | None, Field(description="Null: all defaults again.")] = None
    authorization: AuthorizationGiven = None
    headers: Annotated[dict[str, str] | None, Field(repr=False, description="All of them; null: none.")] = None
    signing: Annotated[None, Field(description="Null: sign no more. For another key there is `rotate-secret`.")] = None
    body_secret: BodySecret = None
    nonce_secret: NonceSecret = None
    skip_url_verification: SkipUrlVerification = False


class Enabling(Body):
    """How it is enabled."""

    skip_url_verification: SkipUrlVerification = False


class Disabling(Body):
    """Why it is disabled."""

    reason: Annotated[Name | None, Field(description="Kept with the webhook.")] = None


class Rotation(Body):
    """The new signing key, and how long the ones before it sign as well."""

    overlap_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=int(MAX_OVERLAP.total_seconds()),
            description="How long the older keys sign beside the new one; 0: no longer.",
        ),
    ] = 24 * 60 * 60
    kind: KeyKind = KeyKind.HMAC
    signing_key: SigningKeyGiven = None
