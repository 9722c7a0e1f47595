"""Checks every answer of the dialects against strict models of what their vendors publish, whichever client got it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_BODY = None
_adapter = cache(TypeAdapter)  # making one takes longer than the answer
_OURS = "/openapi.json"  # no vendor has it


class Document(BaseModel):
    """A JSON object with exactly these members. A member with a default can be left out, and is never null."""

    model_config = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Published:
    """What a vendor answers. `calls`: for each call, by method and path, the model by status. `errors`: the models
    for any path, including unknown ones. The model `NO_BODY` is for an answer without a body."""

    calls: Mapping[str, Mapping[int, Any]]
    errors: Mapping[int, Any]

    def difference(self, method: str, path: str, status: int, content_type: str, body: bytes) -> str | None:
        """How an answer differs from what is published; None if it is as published."""
        answers = {**self.errors, **self.calls.get(self._call(method, path), {})}
        if status not in answers:
            return f"no model for the status {status}"
        model = answers[status]
        if model is NO_BODY:
            return "a body where none is published" if body else None
        if content_type != "application/json":
            return f"the content type {content_type}"
        try:
            _adapter(model).validate_json(body, strict=True)
        except ValidationError as error:
            return str(error)
        return None

    def _call(self, method: str, path: str) -> str:
        for call in self.calls:
            wanted, _, template = call.partition(" ")
            if method == wanted and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                return call
        return ""


@dataclass(slots=True)
class Answers:
    """The answers that are not as published."""

    published: Mapping[str, Published]
    differences: list[str] = field(default_factory=list)

    @contextmanager
    def held(self) -> Iterator[None]:
        """In this context, every answer must be as published."""
        self.differences.clear()
        yield
        assert not self.differences, "\n".join(self.differences)

    def watching(self, app: ASGIApp) -> ASGIApp:
        """The app, with each answer checked before its last byte is sent."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            parts = re.fullmatch(r"/(\w+)(/.*)", scope["path"], re.DOTALL) if scope["type"] == "http" else None
            prefix, path = parts.groups() if parts else ("", "")
            if prefix not in self.published or path == _OURS:
                await app(scope, receive, send)
                return
            head: Message = {}
            body = bytearray()

            async def send_seen(message: Message) -> None:
                if message["type"] == "http.response.start":
                    head.update(message)
                else:
                    body.extend(message.get("body", b""))
                    if not message.get("more_body", False):
                        self._look(prefix, scope["method"], path, head, bytes(body))
                await send(message)

            await app(scope, receive, send_seen)

        return watched

    def _look(self, prefix: str, method: str, path: str, head: Message, body: bytes) -> None:
        content_type = dict(head["headers"]).get(b"content-type", b"").decode()
        found = self.published[prefix].difference(method, path, head["status"], content_type, body)
        if found is not None:
            self.differences.append(f"{method} /{prefix}{path}: {found}")
