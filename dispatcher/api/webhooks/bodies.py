"""The bodies of requests about webhooks."""

from typing import Annotated, Any, Literal, Optional, TypeAlias

from pydantic import ConfigDict, Field, SecretStr, create_model

from dispatcher.egress.header_names import HEADER_NAME
from dispatcher.egress.mail_addresses import MAX_ADDRESS
from dispatcher.egress.urls import MAX_URL
from dispatcher.event_types import MAX_LENGTH, PATTERN, TEST
from dispatcher.receiver_auth.credentials import (
    MAX_CLIENT,
    MAX_HEADERS,
    MAX_RESPONSE_TYPE,
    MAX_SECRET,
    TokenRequest,
)
from dispatcher.signing.keys import MAX_OVERLAP, KeyKind
from dispatcher.web.bodies import Body
from dispatcher.web.ownership import Name
from dispatcher.web.parameters import EVENT_TYPE
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.fields import MAX_EVENT_TYPES, MAX_TEXT

_KIND = Field(description="The kind of authorization.")


def _stated(most: int, **more: Any) -> Any:
    """States in OpenAPI how long a text may be. Refusals are in words, where all who register webhooks are checked."""
    return Field(json_schema_extra={"minLength": 1, "maxLength": most, **more})


_Secret = Annotated[SecretStr, _stated(MAX_SECRET)]
_Text = Annotated[str, _stated(MAX_TEXT)]
_Headers = Annotated[
    dict[str, Annotated[str, _stated(MAX_SECRET)]],
    Field(json_schema_extra={"maxProperties": MAX_HEADERS, "propertyNames": {**HEADER_NAME}}),
]


class BasicBody(Body):
    """HTTP Basic."""

    kind: Annotated[Literal["basic"], _KIND]
    username: Annotated[
        Annotated[str, _stated(MAX_CLIENT, pattern="^[^:]*$")], Field(description="The user name that callbacks send.")
    ]
    password: Annotated[
        Annotated[SecretStr, Field(json_schema_extra={"maxLength": MAX_SECRET})],
        Field(description="Kept encrypted, never shown."),
    ]


class BearerBody(Body):
    """A token that does not change."""

    kind: Annotated[Literal["bearer"], _KIND]
    token: Annotated[_Secret, Field(description="Kept encrypted, never shown.")]


class ClientCredentialsBody(Body):
    """OAuth2 client credentials: a token is fetched from `endpoint`."""

    kind: Annotated[Literal["client_credentials"], _KIND]
    endpoint: Annotated[
        Annotated[str, _stated(MAX_URL)], Field(repr=False, description="The URL where tokens are fetched.")
    ]
    client_id: Annotated[Annotated[str, _stated(MAX_CLIENT)], Field(description="The client id at the token server.")]
    client_secret: Annotated[_Secret, Field(description="Kept encrypted, never shown.")]
    scope: Annotated[Annotated[str, _stated(MAX_CLIENT)] | None, Field(description="The scope to request.")] = None
    response_type: Annotated[
        Annotated[str, _stated(MAX_RESPONSE_TYPE)] | None,
        Field(description="Sent with the request, for token servers that need it."),
    ] = None
    token_request: TokenRequest = TokenRequest.BASIC


class SigningBody(Body):
    """The kind of signing key to create."""

    kind: Annotated[Literal["hmac", "ed25519", "none"], Field(description="`none`: callbacks carry no signature.")]


AuthorizationBody: TypeAlias = BasicBody | BearerBody | ClientCredentialsBody

Url = Annotated[str, Field(max_length=MAX_URL, repr=False, description="Kept encrypted, shown masked.")]
EventTypes = Annotated[
    list[Annotated[str, Field(json_schema_extra={"pattern": rf"^(?:\*|{PATTERN})$", "maxLength": MAX_LENGTH})]],
    Field(
        min_length=1,
        max_length=MAX_EVENT_TYPES,
        description="Event types, prefixes of whole parts, or `*` for all.",
        examples=[["message"]],
    ),
]
Label = Annotated[_Text | None, Field(description="A name, unique in its account.")]
App = Annotated[_Text | None, Field(description="Take only this app's events.")]
Contact = Annotated[
    Annotated[str, _stated(MAX_ADDRESS)] | None, Field(description="The mail address for notices about problems.")
]
AuthorizationGiven = Annotated[
    AuthorizationBody | None,
    Field(discriminator="kind", description="The credentials that callbacks carry for the receiver."),
]
BodySecret = Annotated[_Secret | None, Field(description="The key of the contract's `body_signature`.")]
NonceSecret = Annotated[_Secret | None, Field(description="The key of the contract's `nonce_signature`.")]
SigningKeyGiven = Annotated[
    Annotated[SecretStr, _stated(94, pattern="^wh(?:sec|sk)_[A-Za-z0-9+/]+={0,2}$")] | None,  # of 64 bytes in base64
    Field(description="A key that the receiver has already: `whsec_...` or `whsk_...`."),
]
SkipUrlVerification = Annotated[bool, Field(description="Only with an operator's key: do not verify the URL.")]


class NewWebhook(Body):
    """A webhook to create."""

    url: Url
    event_types: EventTypes
    account: Annotated[Name | None, Field(description="Only for an operator's key, which requires it.")] = None
    name: Label = None
    app: App = None
    contact_email: Contact = None
    enabled: Annotated[bool, Field(description="False: register it, but deliver nothing yet.")] = True
    contract: Annotated[
        DeliveryContract,
        Field(default_factory=DeliveryContract, description="How to deliver to it. All members have defaults."),
    ]
    authorization: AuthorizationGiven = None
    headers: Annotated[
        _Headers, Field(repr=False, default_factory=dict, description="Sent with each callback; shown masked.")
    ]
    signing: SigningBody = SigningBody(kind="hmac")
    signing_key: SigningKeyGiven = None
    body_secret: BodySecret = None
    nonce_secret: NonceSecret = None
    skip_url_verification: SkipUrlVerification = False


def _without_defaults(schema: dict[str, Any]) -> None:
    """Members that are left out of a change stay unchanged, so they have no defaults."""
    for member in schema["properties"].values():
        member.pop("default", None)


_CHANGES = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, json_schema_extra=_without_defaults)

_members: Any = {
    name: (Annotated[Optional[field.annotation], *field.metadata, Field(description=field.description)], None)  # noqa: UP045 - an annotation may be None
    for name, field in DeliveryContract.model_fields.items()
}
ContractChanges = create_model(
    "ContractChanges",
    __config__=_CHANGES,
    __doc__="Members of the delivery contract to change; null restores the default.",
    **_members,
)


class WebhookChanges(Body):
    """Changes to a webhook: only the given members. Null removes a member that can be removed."""

    model_config = _CHANGES

    url: Url = ""
    event_types: EventTypes = Field(default_factory=list)
    name: Label = None
    app: App = None
    contact_email: Contact = None
    enabled: Annotated[bool, Field(description="False: deliver nothing for now. True: deliver again.")] = True
    contract: Annotated[ContractChanges | None, Field(description="Null restores all defaults.")] = None
    authorization: AuthorizationGiven = None
    headers: Annotated[_Headers | None, Field(repr=False, description="Replaces all headers; null removes them.")] = (
        None
    )
    signing: Annotated[None, Field(description="Null: stop signing. For a new key, use `rotate-secret`.")] = None
    body_secret: BodySecret = None
    nonce_secret: NonceSecret = None
    skip_url_verification: SkipUrlVerification = False


class Enabling(Body):
    """How to enable a webhook."""

    skip_url_verification: SkipUrlVerification = False


class Disabling(Body):
    """Why to disable a webhook."""

    reason: Annotated[Name | None, Field(description="Kept with the webhook.")] = None


class Rotation(Body):
    """The new signing key, and how long the older ones still sign."""

    overlap_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=int(MAX_OVERLAP.total_seconds()),
            description="How long the older keys still sign beside the new one; 0: not at all.",
        ),
    ] = 24 * 60 * 60
    kind: KeyKind = KeyKind.HMAC
    signing_key: SigningKeyGiven = None


class TestEvent(Body):
    """The sample event."""  # its `data` is kept as the received bytes

    type: Annotated[
        str, Field(description="Any event type; the webhook need not take it.", json_schema_extra=EVENT_TYPE)
    ] = TEST
    data: Annotated[Any, Field(description="The message: any JSON. Default: a small sample.")] = None
