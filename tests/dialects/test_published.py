"""The check of every answer: each call has a model, and an answer that is not as published is found."""

import json
from typing import Any

import pytest
import requests

from dispatcher.asgi import DIALECTS
from tests.dialects.published import Answers
from tests.dialects.vendors import VENDORS
from tests.each import each
from tests.integration.api.conftest import running_app

WEBHOOK: dict[str, Any] = {
    "id": 234,
    "name": "My MT Webhook",
    "url": "https://www.example.com",
    "triggerScope": "SENT",
    "active": True,
    "contactEmailAddress": None,
    "onWebApp": True,
}
ERROR: dict[str, Any] = {"type": "t", "title": "Not Found", "status": 404}
JSON = "application/json"


@pytest.mark.parametrize("prefix", DIALECTS)
def test_every_call_of_a_dialect_has_a_model_and_no_other(prefix: str) -> None:
    paths = DIALECTS[prefix]().openapi()["paths"]
    calls = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert calls == set(VENDORS[prefix.strip("/")].calls)


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {member: value for member, value in document.items() if member != name}


@each(
    "method, path, status, content_type, document, found",
    [
        ("GET", "/v1/webhooks/1", 200, JSON, WEBHOOK, None),
        ("GET", "/v1/webhooks/1", 200, JSON, WEBHOOK | {"invokeOption": "ONE"}, "Extra inputs are not permitted"),
        ("GET", "/v1/webhooks", 200, JSON, [WEBHOOK, WEBHOOK | {"more": 1}], "Extra inputs are not permitted"),
        ("GET", "/v1/webhooks/1", 200, JSON, without(WEBHOOK, "onWebApp"), "Field required"),
        ("GET", "/v1/webhooks/1", 200, JSON, WEBHOOK | {"id": "234"}, "valid integer"),
        ("GET", "/v1/webhooks/1", 200, JSON, WEBHOOK | {"active": None}, "valid boolean"),
        ("GET", "/v1/webhooks/1", 200, "text/html", WEBHOOK, "the content type text/html"),
        ("GET", "/v1/webhooks/1", 201, JSON, WEBHOOK, "no model for the status 201"),
        ("GET", "/v1/webhooks/1/more", 200, JSON, WEBHOOK, "no model for the status 200"),
        ("PUT", "/v1/webhooks/1", 200, JSON, WEBHOOK, "no model for the status 200"),
        ("DELETE", "/v1/webhooks/1", 200, JSON, None, None),
        ("DELETE", "/v1/webhooks/1", 200, JSON, {}, "a body where none is published"),
        ("GET", "/v1/webhooks/1", 404, JSON, ERROR, None),
        ("GET", "/v1/nowhere", 404, JSON, ERROR | {"detail": "d"}, None),
        ("GET", "/v1/webhooks/1", 404, JSON, ERROR | {"detail": None}, "valid string"),
        ("GET", "/v1/webhooks/1", 404, JSON, ERROR | {"errors": []}, "Extra inputs are not permitted"),
        ("GET", "/v1/webhooks/1", 422, JSON, ERROR, "no model for the status 422"),
        ("GET", "/openapi.json", 200, JSON, {"openapi": "3.1.0"}, None),
    ],
)
def test_an_answer_that_is_not_as_published_is_found(
    method: str, path: str, status: int, content_type: str, document: Any, found: str | None
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = json.dumps(document).encode() if document is not None else b""
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type.encode())]}
        )
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
        await send({"type": "http.response.body", "body": body[5:]})

    answers = Answers(VENDORS)
    with running_app(answers.watching(app)) as origin:
        requests.request(method, f"{origin}/bulksms{path}", timeout=30)
    if found is None:
        assert answers.differences == []
    else:
        (difference,) = answers.differences
        assert difference.startswith(f"{method} /bulksms{path}: ")
        assert found in difference
        with pytest.raises(AssertionError), answers.held():
            answers.differences.append(difference)
