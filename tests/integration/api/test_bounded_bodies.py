"""Bodies stop at the value, member or element that is too many: what follows is not parsed."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from dispatcher.dialects.zipwhip import parameters
from dispatcher.events import event, raw_json
from dispatcher.web import oauth2
from dispatcher.web.middleware import MAX_EVENTS_VALUES, MAX_FORM_BYTES, MAX_VALUES
from tests.integration.api.conftest import Api

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
    members = ",".join(f'"m{number}":1' for number in range(10_000))
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
