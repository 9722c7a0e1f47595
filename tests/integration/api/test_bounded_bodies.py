"""Bodies stop at the value, member or element that is too many: what follows is not parsed."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount

from dispatcher import asgi
from dispatcher.dialects.zipwhip import parameters
from dispatcher.events import event, raw_json
from dispatcher.receiver_auth.credentials import MAX_HEADERS
from dispatcher.web import bodies, oauth2
from dispatcher.web.middleware import (
    MAX_EVENTS_VALUES,
    MAX_FIELD_VALUES,
    MAX_FORM_BYTES,
    MAX_VALUES,
    read_body,
    read_fields,
)
from dispatcher.webhooks.contract import MAX_MEMBERS
from dispatcher.webhooks.fields import MAX_EVENT_TYPES
from tests.integration.api.conftest import Api
from tests.receiver import Receiver

BATCH = "/v1/events/batch"
EVENT = '{"type":"message.sent","data":1}'


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many characters each value had that was parsed."""
    lengths: list[int] = []
    value_end = raw_json._value_end

    def noted(text: str, start: int) -> int:
        end = value_end(text, start)
        lengths.append(end - start)
        return end

    monkeypatch.setattr(raw_json, "_value_end", noted)
    return lengths


def problem(answer: Any) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["detail"]


def test_the_thousand_and_first_event_of_a_batch_is_not_read(api: Api, token: str, parsed: list[int]) -> None:
    body = f'{{"events":[{",".join([EVENT] * 5_000)}]}}'.encode()
    refused = api.call("POST", BATCH, body, token=token)
    assert problem(refused) == (422, "events must be a list of 1 to 1000 events")
    assert parsed == [len(EVENT)] * 1_000


def test_a_body_of_millions_of_elements_is_not_parsed_at_all(api: Api, token: str, parsed: list[int]) -> None:
    for value in (b"1,", b"[],", b'"",', b"[", b'{"a":'):
        refused = api.call("POST", BATCH, b'{"events":[' + value * (8_000_000 // len(value)), token=token)
        assert problem(refused) == (413, f"the body has more than {MAX_EVENTS_VALUES} values"), value
    refused = api.post_event(b'{"type":"a","data":[' + b"1," * 120_000 + b"1]}", token=token)
    assert problem(refused) == (413, f"the body has more than {MAX_VALUES} values")
    assert parsed == []


def test_a_message_is_parsed_once(api: Api, token: str, monkeypatch: pytest.MonkeyPatch, parsed: list[int]) -> None:
    again: list[bytes] = []
    monkeypatch.setattr(event, "_check_json", again.append)
    assert api.post_event(b'{"type":"a","data":[1,2]}', token=token).status_code == 202
    assert (parsed, again) == ([3, 5], [])


WRONG = {f"x{number}": 1 for number in range(10_000)}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/webhooks", {"contract": {"rules": WRONG}}),
        ("PATCH", f"/v1/webhooks/{UUID(int=0)}", {"headers": WRONG}),
        ("POST", "/v1/redeliveries", {"filter": {"states": list(WRONG)}}),
        ("POST", "/bulksms/v1/webhooks", WRONG),
    ],
)
def test_thousands_of_wrong_values_are_not_looked_at_one_by_one(
    api: Api, manager: str, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: object
) -> None:
    told: list[object] = []
    monkeypatch.setattr(bodies, "refusal", told.append)
    refused = api.call(method, path, body, token=manager)
    assert refused.status_code == 413
    assert f"the body has more than {MAX_FIELD_VALUES} values" in refused.text
    assert told == []


def test_only_what_carries_a_message_may_have_more_values() -> None:
    def calls(dependant: Dependant) -> Iterator[object]:
        yield dependant.call
        for one in dependant.dependencies:
            yield from calls(one)

    def readers(app: FastAPI) -> Iterator[tuple[str, object]]:
        for context in iter_route_contexts(app.routes):
            match context.original_route:
                case Mount(app=FastAPI() as mounted):
                    yield from readers(mounted)
                case APIRoute() as route:
                    yield from ((route.name, call) for call in calls(route.dependant))

    found = {(name, call) for name, call in readers(asgi.app) if call in {read_body, read_fields}}
    assert {name for name, call in found if call is read_body} == {"post_event", "post_test"}
    assert len(found) > 12


def test_the_largest_webhook_has_fewer(api: Api, manager: str, receiver: Receiver) -> None:
    rule = {"verdict": "temporary", "disable_webhook": True, "honour_retry_after": True}
    largest = {
        "url": receiver.url("/hook"),
        "event_types": [f"type.{number}" for number in range(MAX_EVENT_TYPES)],
        "headers": {f"X-Own-{number}": "1" for number in range(MAX_HEADERS)},
        "contract": {
            "members": [["data", "data"], *([f"m{number}", "app"] for number in range(1, MAX_MEMBERS))],
            "rules": {str(400 + number): rule for number in range(50)},
        },
    }
    assert api.call("POST", "/v1/webhooks", largest, token=manager).status_code == 201


def test_it_is_judged_while_it_comes(api: Api, token: str) -> None:
    sent = 0

    def without_end() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"events":['
        for _ in range(2_000):
            yield b"1," * 50_000
            sent += 100_000

    with suppress(OSError):  # the client may find the connection closed while it sends
        assert api.call("POST", BATCH, token=token, data=without_end()).status_code == 413
    assert sent < 16_000_000


@pytest.mark.parametrize("path", ["/oauth2/token", "/sinch/oauth2/token", "/zipwhip/user/login"])
def test_a_form_that_is_longer_than_any_client_sends_is_not_read(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    read: list[str] = []
    for module in (oauth2, parameters):
        monkeypatch.setattr(module, "parse_qsl", lambda text, **_: read.append(text) or [])
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    escapes = b"%41" * ((MAX_FORM_BYTES - 2) // 3)
    assert api.call("POST", path, b"a=" + escapes, headers=form).status_code < 413
    assert [text for text in read if text] == ["a=" + escapes.decode()]
    del read[:]
    assert api.call("POST", path, b"a=" + escapes + b"%41", headers=form).status_code == 413
    assert read == []


@pytest.mark.parametrize("path", ["/v1/events", "/v1/webhooks", "/v1/redeliveries"])
def test_the_hundred_and_first_member_is_not_read(
    api: Api, token: str, manager: str, parsed: list[int], path: str
) -> None:
    members = ",".join(f'"m{number}":1' for number in range(900))
    refused = api.call("POST", path, f"{{{members}}}".encode(), token=token if path == "/v1/events" else manager)
    assert problem(refused) == (400, "the body has more than 100 members")
    assert len(parsed) == 100


def test_a_message_with_as_many_values_as_there_may_be_is_taken(api: Api, token: str) -> None:
    zeros = MAX_VALUES - 2  # the body and its second member count, too
    for more, status in ((0, 202), (1, 413)):
        body = f'{{"type":"message.sent","data":[{",".join("0" * (zeros + more))}]}}'.encode()
        assert api.post_event(body, token=token).status_code == status


def test_a_text_with_very_many_commas_is_one_value(api: Api, token: str) -> None:
    one = {"type": "message.sent", "data": ",[{" * 80_000}
    assert api.post_event(one, token=token).status_code == 202
    events = {"events": [one] * 30}
    assert len(json.dumps(events)) < 8_000_000
    assert api.call("POST", BATCH, events, token=token).json()["accepted"] == 30
