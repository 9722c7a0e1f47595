"""A call as a request, and its answer as a document or an error."""

import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn

from dispatcher.client import Client, Problem, UnexpectedAnswer, senders
from dispatcher.client.calls import Call, answer_of, request_of, seconds_to_wait, segment
from dispatcher.client.errors import ApiError
from dispatcher.client.retries import pause
from dispatcher.errors import DispatcherError

ID = UUID("0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00")
WRONG = (
    b'{"title": 1, "detail": "d"}',
    b'{"title": "t", "detail": "d", "errors": null}',
    b'{"title": "t", "detail": "d", "errors": [{"field": ["planted"]}]}',
)
GET: Call[int] = Call("GET", "/v1/things", {200: int})


def body_of(body: dict[str, Any]) -> bytes | None:
    return request_of(Call("POST", "/", {200: int}, body=body), "k").content


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "ä", "planted\r\n"])
def test_a_key_that_none_can_be_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ValueError, match=r"^the key is empty, or has characters that no key has$"):
        Client("http://127.0.0.1:1", key)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://a", "http://", "http://a?b", "http://a#b", "https://planted:planted@a"]
)
def test_a_url_that_none_can_be_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^the URL must be http") as raised:
        Client(url, "k")
    assert "planted" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://a/v1", "https://a/webhooks/v1/"])
def test_a_url_with_the_version_that_calls_bring_along_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"without /v1 at its end"):
        Client(url, "k")


def test_neither_client_nor_call_shows_a_secret() -> None:
    call: Call[int] = Call("POST", "/", {200: int}, body={"password": "planted"})
    request = request_of(call, "planted")
    with Client("http://127.0.0.1:1", "planted") as client:
        assert "planted" not in f"{call!r}{request!r}{client!r}"


@pytest.mark.parametrize(
    ("name", "part"),
    [("acme", "acme"), ("a/b", "a%2Fb"), (".", "%2E"), ("..", "%2E%2E"), ("a.b", "a.b"), (ID, str(ID))],
)
def test_a_name_is_one_part_of_a_path(name: object, part: str) -> None:
    assert segment(name) == part


def test_a_connection_is_kept_for_less_long_than_by_the_api() -> None:
    kept = senders._LIMITS.keepalive_expiry
    assert kept is not None
    assert kept < uvicorn.Config("x").timeout_keep_alive


def test_a_caller_says_how_long_it_waits_for_an_answer() -> None:
    with Client("http://127.0.0.1:1", "k", timeout=7) as client:
        assert client._http.timeout == httpx.Timeout(7)


def test_a_closed_client_makes_no_call() -> None:
    with Client("http://127.0.0.1:1", "k") as client:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        client.healthz()


def test_a_body_keeps_numbers_characters_and_null() -> None:
    moment = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
    body = {"data": {"id": 9_007_199_254_740_993, "body": "ü"}, "app": None, "occurred_at": moment, "webhook": ID}
    assert (
        body_of(body)
        == (
            '{"data":{"id":9007199254740993,"body":"ü"},"app":null,"occurred_at":"2026-03-02T09:15:00+00:00",'
            f'"webhook":"{ID}"}}'
        ).encode()
    )


def test_what_json_has_no_form_for_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^Decimal has no form in JSON$"):
        body_of({"data": Decimal(1)})
    with pytest.raises(ValueError, match="not JSON compliant"):
        body_of({"data": float("nan")})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>planted</html>", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b'"planted"', "the document has another type"),
        (b"", "the document has another type"),
    ],
)
def test_what_is_no_answer_of_the_api_is_not_repeated(content: bytes, reason: str) -> None:
    with pytest.raises(UnexpectedAnswer) as raised:
        answer_of(GET, 200, {}, content)
    assert str(raised.value) == f"the answer, of status 200, is not the API's: {reason}"
    assert (raised.value.status, raised.value.__cause__) == (200, None)


@pytest.mark.parametrize("content", [b"<html>", b"{}", b"", b"[]", *WRONG])
def test_an_error_that_is_no_problem_is_unexpected(content: bytes) -> None:
    for status in (301, 404, 502):
        with pytest.raises(UnexpectedAnswer) as raised:
            answer_of(GET, status, {}, content)
        assert "planted" not in str(raised.value)


def test_a_problem_has_the_status_of_an_error() -> None:
    with pytest.raises(UnexpectedAnswer):
        answer_of(GET, 203, {}, b'{"title": "t", "detail": "d"}')


def test_a_refused_token_is_a_problem() -> None:
    refusal = {"error": "invalid_client", "error_description": "a valid API key is needed"}
    with pytest.raises(Problem, match=r"^401 invalid_client: a valid API key is needed$") as raised:
        answer_of(GET, 401, {}, json.dumps(refusal).encode())
    assert (raised.value.errors, raised.value.retry_after, raised.value.request_id) == ({}, None, None)


def test_an_error_can_be_handed_on_to_another_process() -> None:
    problem = Problem(429, "Too Many Requests", "d", errors={"a": "b"}, retry_after=5, request_id="r")
    copy = pickle.loads(pickle.dumps(problem))
    assert (str(copy), vars(copy)) == (str(problem), vars(problem))
    assert isinstance(problem, ApiError)
    assert isinstance(problem, DispatcherError)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("5", 5), ("0", 0), ("", None), ("-1", None), ("1.5", None), ("Mon, 02 Mar", None), ("9" * 10, None)],
)
def test_only_seconds_say_how_long_to_wait(said: str, seconds: int | None) -> None:
    assert seconds_to_wait({"Retry-After": said}) == seconds


@pytest.mark.parametrize(
    ("status", "retry_after", "repeatable", "seconds"),
    [
        (429, 5, True, 5),
        (429, 5, False, 5),
        (503, 5, True, 5),
        (503, 5, False, None),  # it may have been done
        (503, None, True, None),
        (429, None, True, None),
        (429, 0, True, 1),  # never at once
        (429, 60, True, 60),
        (429, 61, True, None),  # longer than the caller waits
        (500, 5, True, None),
        (409, 5, True, None),
    ],
)
def test_what_is_made_again_after_how_long(
    status: int, retry_after: int | None, repeatable: bool, seconds: float | None
) -> None:
    assert pause(status, retry_after, repeatable=repeatable, patience=60) == seconds
