"""Sinch's answers, by its page on webhooks and by its SDKs: the Python one reads all seven members of a webhook and all
four of a token, and an error below `error`; the one for Node names three more members of the credentials. Members that
are not set are as protobuf prints them. 405, 408, 409, 413, 429 and 503 are ours."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tests.dialects.published import Document, Published

# The constants of the triggers, by SDK. The Python ones have none: they send what they are given.
_IN_ALL_SDKS = {
    "MESSAGE_DELIVERY", "MESSAGE_SUBMIT", "MESSAGE_INBOUND", "EVENT_DELIVERY", "EVENT_INBOUND",
    "MESSAGE_INBOUND_SMART_CONVERSATION_REDACTION", "CONVERSATION_START", "CONVERSATION_STOP", "CONVERSATION_DELETE",
    "CONTACT_CREATE", "CONTACT_DELETE", "CONTACT_MERGE", "CONTACT_UPDATE", "CONTACT_IDENTITIES_DUPLICATION",
    "UNSUPPORTED", "OPT_IN", "OPT_OUT", "CHANNEL_EVENT", "CAPABILITY",
}  # fmt: skip
TRIGGERS = {
    "Node": _IN_ALL_SDKS | {"SMART_CONVERSATIONS", "RECORD_NOTIFICATION"},
    "Java": _IN_ALL_SDKS | {"SMART_CONVERSATION", "RECORD_NOTIFICATION"},
    ".NET": _IN_ALL_SDKS | {"SMART_CONVERSATION"},
}


class ClientCredentials(Document):
    client_id: str
    client_secret: str
    endpoint: str
    scope: str = ""
    response_type: str = ""
    token_request_type: Literal["BASIC", "FORM"] = "BASIC"


class Webhook(Document):
    app_id: str
    client_credentials: ClientCredentials | None
    id: str
    secret: str
    target: str
    target_type: Literal["HTTP", "DISMISS"]
    triggers: Annotated[list[Annotated[str, Field(pattern="^[A-Z_]+$")]], Field(min_length=1)]


class Webhooks(Document):
    webhooks: list[Webhook]


class Nothing(Document):
    pass


class FlatError(Document):
    code: int
    message: str
    status: str
    details: Annotated[list[Any], Field(max_length=0)]


class Error(FlatError):
    error: FlatError


class Token(Document):
    access_token: str
    expires_in: int
    scope: str
    token_type: Literal["bearer"]


class TokenRefusal(Document):
    error: str
    error_description: str


_PROJECT = "/v1/projects/{project_id}"

PUBLISHED = Published(
    calls={
        "POST /oauth2/token": {200: Token, 400: TokenRefusal, 401: TokenRefusal},
        f"GET {_PROJECT}/apps/{{app_id}}/webhooks": {200: Webhooks},
        f"POST {_PROJECT}/webhooks": {200: Webhook},
        f"GET {_PROJECT}/webhooks/{{webhook_id}}": {200: Webhook},
        f"PATCH {_PROJECT}/webhooks/{{webhook_id}}": {200: Webhook},
        f"DELETE {_PROJECT}/webhooks/{{webhook_id}}": {200: Nothing},
    },
    errors=dict.fromkeys((400, 401, 403, 404, 405, 408, 409, 413, 429, 500, 503), Error),
)
