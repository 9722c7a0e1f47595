"""Zipwhip's answers, by its page on web hooks and, for the login, by its page on the API. It publishes no error: the
form is the one that its clients read, and ours."""

from typing import Annotated, Literal

from pydantic import Field

from tests.dialects.published import Document, Published


class Webhook(Document):
    webhookId: int  # noqa: N815 - the vendor's name
    type: Literal["message", "optout"]
    event: Literal["delete", "progress", "read", "receive", "send", "change"]
    url: str
    method: Literal["POST", "PUT", "GET"]


class Session(Document):
    success: Literal[True]
    response: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9]+$")]


class One(Document):
    success: Literal[True]
    response: Annotated[list[Webhook], Field(min_length=1, max_length=1)]


class Several(Document):
    success: Literal[True]
    response: list[Webhook]


class Nothing(Document):
    success: Literal[True]
    response: Annotated[list[Webhook], Field(max_length=0)]


class Refusal(Document):
    success: Literal[False]
    response: str


_ANSWERS = {
    "/user/login": Session,
    "/webhook/add": One,
    "/webhook/update": One,
    "/webhook/list": Several,
    "/webhook/delete": Nothing,
}

PUBLISHED = Published(
    calls={
        f"{method} {path}": {200: model | Refusal} for path, model in _ANSWERS.items() for method in ("GET", "POST")
    },
    errors=dict.fromkeys((404, 405, 408, 413, 429, 500, 503), Refusal),
)
