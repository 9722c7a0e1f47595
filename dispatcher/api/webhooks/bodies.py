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


class BasicBody(Body):
    """HTTP Basic."""

    kind: Literal["basic"]
    username: str
    password: SecretStr


class BearerBody(Body):
    """A token that does not change."""

    kind: Literal["bearer"]
    token: SecretStr


class ClientCredentialsBody(Body):
    """OAuth2 client credentials: a token is fetched from `endpoint`."""

    kind: Literal["client_credentials"]
    endpoint: Annotated[str, Field(repr=False)]
    client_id: str
    client_secret: SecretStr
    scope: str | None = None
    response_type: str | None = None
    token_request: TokenRequest = TokenRequest.BASIC


class SigningBody(Body):
    """The kind of key that is made."""

    kind: Literal["hmac", "ed25519", "none"]


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
    enabled: bool = True
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
    name: (Annotated[Optional[field.annotation], *field.metadata, Field()], None)  # noqa: UP045 - one may be None
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
    enabled: bool = True
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

    overlap_seconds: Annotated[int, Field(ge=0, le=int(MAX_OVERLAP.total_seconds()))] = 24 * 60 * 60
    kind: KeyKind = KeyKind.HMAC
    signing_key: SigningKeyGiven = None
