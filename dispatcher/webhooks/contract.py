"""The delivery contract: how a webhook is delivered, as data. Workers know no vendor, only this."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from dispatcher.errors import InvalidWebhook
from dispatcher.masking.refusals import first_refusal
from dispatcher.signing.schemes import (
    NONCE_HEADERS,
    BodySignature,
    NonceSignature,
)
from schedules.catalog import DEFAULT, SCHEDULES

# What a reader of contract and secrets must know. It grows when a version writes something that the versions before it
# must not pass over, such as a new kind of authorization; a member that they may pass over leaves it as it is. This is
# what this version writes, and the newest that it can read.
FORMAT = 1

MAX_MEMBERS = 20
MAX_RULES = 50  # where a webhook is made or changed; stored ones can have more


class _MostWhereGiven:
    """States in OpenAPI how many members what is given may have."""

    def __init__(self, most: int) -> None:
        self._most = most

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        if handler.mode == "validation":
            schema["maxProperties"] = self._most
        return schema


UserAgent = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")]
MessagesPerSecond = Annotated[float, Field(ge=0.01, le=100_000, allow_inf_nan=False)]
MemberName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[!-~]+$")]


class Verdict(StrEnum):
    """What an answer means."""

    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    TEMPORARY = "temporary"


class Method(StrEnum):
    """HTTP methods a callback can use."""

    POST = "POST"
    PUT = "PUT"
    GET = "GET"


class Envelope(StrEnum):
    """What the callback's body is: the message in a JSON array, or alone."""

    ARRAY = "array"
    OBJECT = "object"


class Member(StrEnum):
    """What a member of an envelope can hold. Times are UTC with milliseconds."""

    EVENT_ID = "event_id"
    EVENT_TYPE = "event_type"
    CREATED_AT = "created_at"  # when the event was taken in
    OCCURRED_AT = "occurred_at"
    DATA = "data"  # the message
    ACCOUNT = "account"  # its name
    APP = "app"
    WEBHOOK_ID = "webhook_id"
    ATTEMPT_ID = "attempt_id"


class ContentType(StrEnum):
    """What a callback says its body is. JSON is UTF-8 anyway; some receivers want it stated."""

    JSON = "application/json"
    JSON_UTF8 = "application/json; charset=UTF-8"


class ResponseRule(BaseModel):
    """Overrides what one status code means for one webhook."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    disable_webhook: Annotated[bool, Field(description="Such an answer disables the webhook.")] = False
    honour_retry_after: Annotated[bool, Field(description="The answer's `Retry-After` says when to try again.")] = False


class DeliveryContract(BaseModel):
    """How one webhook is delivered. Everything that is not set has the product's default.

    With `members`, names and what they hold in order, each message is put into an object of these; without them it
    is sent as it is. `rules` maps single status codes to what they mean here; without one, the plain rule holds (1xx
    and 2xx acknowledged, 4xx rejected, all others temporary). `body_signature` and `nonce_signature` are added to the
    signatures of the webhook's signing keys, each with its own secret. `client_certificate` is reserved for the
    certificate that a receiver may ask for: it cannot be set yet.

    The descriptions are shown in the API's document and, with bounds and default, in the command line's help, where
    each has one line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Annotated[Method, Field(description="HTTP method of callbacks.")] = Method.POST
    envelope: Annotated[Envelope, Field(description="Messages in an array, or alone.")] = Envelope.ARRAY
    members: Annotated[
        tuple[tuple[MemberName, Member], ...],
        Field(max_length=MAX_MEMBERS, description="Put each message into an object of these."),
    ] = ()
    content_type: Annotated[ContentType, Field(description="Content-Type of callbacks.")] = ContentType.JSON
    user_agent: Annotated[UserAgent | None, Field(description="User-Agent of callbacks.")] = None
    timeout_seconds: Annotated[float, Field(ge=1, le=60, description="Time for the whole answer.")] = 30
    schedule: Annotated[str, Field(description="Schedule of retries.")] = DEFAULT.name
    rules: Annotated[
        dict[int, ResponseRule],
        _MostWhereGiven(MAX_RULES),
        Field(description="What single status codes mean here."),
    ] = Field(default_factory=dict)
    batch_size: Annotated[int, Field(ge=1, le=100, description="Messages in one request.")] = 1
    retry_alone: Annotated[bool, Field(description="Retry a failed batch one by one.")] = False
    rate_limit: Annotated[MessagesPerSecond | None, Field(description="Messages a second at most.")] = None
    circuit_breaker: Annotated[bool, Field(description="Hold back while it keeps failing.")] = True
    body_signature: Annotated[BodySignature | None, Field(description="One more HMAC: over the body.")] = None
    nonce_signature: Annotated[
        NonceSignature | None, Field(description="One more HMAC: over body, nonce and time.")
    ] = None
    https_only: Annotated[bool, Field(description="Refuse plain http.")] = False
    client_certificate: Annotated[None, Field(description="Reserved: it cannot be set yet.")] = None

    @field_validator("schedule")
    @classmethod
    def _known_schedule(cls, name: str) -> str:
        if name not in SCHEDULES:
            raise ValueError(f"must be one of: {', '.join(sorted(SCHEDULES))}")
        return name

    @field_validator("rules")
    @classmethod
    def _real_codes(cls, rules: dict[int, ResponseRule]) -> dict[int, ResponseRule]:
        for code in rules:
            if not (code == 101 or 200 <= code <= 999):
                raise ValueError("must be for a final status: 101, or 200 to 999")
        return rules

    @model_validator(mode="after")
    def _batches_are_arrays(self) -> "DeliveryContract":
        if self.batch_size > 1 and (self.envelope is not Envelope.ARRAY or self.method is Method.GET):
            raise ValueError("a batch_size above 1 needs the envelope array and the method POST or PUT")
        return self

    @model_validator(mode="after")
    def _members_are_a_body(self) -> "DeliveryContract":
        if self.members and self.method is Method.GET:
            raise ValueError("members need the method POST or PUT: with GET the message's own are sent")
        if len(dict(self.members)) < len(self.members):
            raise ValueError("members must not have one name twice")
        # Not more than one: otherwise a request could be many times as large as its message.
        if self.members and list(dict(self.members).values()).count(Member.DATA) != 1:
            raise ValueError("one of the members must hold the data, and only one")
        return self

    @model_validator(mode="after")
    def _one_value_a_header(self) -> "DeliveryContract":
        if self.body_signature and self.nonce_signature:
            name = self.body_signature.header.lower()
            if name.removeprefix(self.nonce_signature.header.lower()) in {"", *NONCE_HEADERS}:
                raise ValueError("the two signatures cannot share a header")
        return self


def read_contract(document: Mapping[str, Any]) -> DeliveryContract:
    """The contract in a JSON document. Raises InvalidWebhook naming the member that is wrong."""
    return _read(document, "forbid")


def read_stored_contract(document: object) -> DeliveryContract:
    """The contract in a stored document of this format or an older one. Members that this version does not know are
    passed over. Raises InvalidWebhook as `read_contract` does."""
    return _read(document, "ignore")


def _read(document: object, unknown_members: Literal["forbid", "ignore"]) -> DeliveryContract:
    try:
        return DeliveryContract.model_validate(document, extra=unknown_members)
    except ValidationError as error:
        place, reason = first_refusal(error)
        raise InvalidWebhook(f"contract.{place}" if place else "contract", reason) from None


def write_contract(contract: DeliveryContract) -> dict[str, Any]:
    """The JSON document of a contract: only what differs from the default, so that defaults can improve."""
    return contract.model_dump(mode="json", exclude_defaults=True)
