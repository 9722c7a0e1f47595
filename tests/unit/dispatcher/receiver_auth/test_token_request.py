import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.receiver_auth.credentials import ClientCredentials, TokenRequest
from dispatcher.receiver_auth.token_request import MAX_CHARACTERS, Issued, read_answer, token_request
from dispatcher.transport.checks import check_request
from dispatcher.transport.exchange import Failure, FailureKind, Reply
from dispatcher.version import USER_AGENT
from schedules.timing import REAL_TIME, Timing
from tests.each import each

CLIENT = ClientCredentials("https://auth.example/oauth2/token?tenant=9", "the-client", "the-secret")


def answer(document: Any, status: int = 200, **details: Any) -> Reply:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Reply(status, (), body, **details)


def why(outcome: Reply | Failure) -> str:
    read = read_answer(outcome)
    assert isinstance(read, Failure)
    assert read.kind is FailureKind.TOKEN
    return read.detail


def test_by_default_the_client_is_shown_as_http_basic() -> None:
    request = token_request(CLIENT, "an-id", REAL_TIME)
    assert (request.id, request.method, request.url) == ("an-id", "POST", CLIENT.endpoint)
    assert dict(request.headers) == {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": f"Basic {base64.b64encode(b'the-client:the-secret').decode()}",
    }
    assert request.body == b"grant_type=client_credentials"
    assert (request.connect_timeout, request.timeout) == (10, 20)
    check_request(request)


def test_in_the_form_the_client_is_shown_nowhere_else() -> None:
    given = ClientCredentials("https://auth.example/", "a b", "+&=ä", token_request=TokenRequest.FORM)
    request = token_request(given, "an-id", REAL_TIME)
    assert "Authorization" not in dict(request.headers)
    assert request.body == b"grant_type=client_credentials&client_id=a+b&client_secret=%2B%26%3D%C3%A4"


def test_scope_and_response_type_are_sent_where_there_are_any() -> None:
    given = ClientCredentials("https://auth.example/", "c", "s", "read write", "token")
    request = token_request(given, "an-id", REAL_TIME)
    assert request.body == b"grant_type=client_credentials&scope=read+write&response_type=token"


def test_what_basic_carries_is_encoded_like_a_form_first() -> None:
    given = ClientCredentials("https://auth.example/", "https://client:1", "a+b %ü")
    value = dict(token_request(given, "an-id", REAL_TIME).headers)["Authorization"]
    assert base64.b64decode(value.partition(" ")[2]) == b"https%3A%2F%2Fclient%3A1:a%2Bb+%25%C3%BC"


def test_shortened_time_shortens_its_timeouts_to_a_least() -> None:
    half, none = token_request(CLIENT, "an-id", Timing(0.5)), token_request(CLIENT, "an-id", Timing(0.001))
    assert (half.connect_timeout, half.timeout) == (5, 10)
    assert (none.connect_timeout, none.timeout) == (1, 2)


@each(
    "expires_in, seconds",
    [
        (3600, 3600),
        (30, 30),
        (30.5, 30.5),
        (5, 5),
        (0, 0),
        (-1, 0),
        (86_400, 3600),
        (10**400, 3600),
        ("3599", 3599),
        ("99999999999999", 300),
        ("soon", 300),
        ("", 300),
        ("²", 300),
        (True, 300),
        (None, 300),
        ([60], 300),
    ],
)
def test_a_token_is_kept_as_long_as_its_server_says_up_to_an_hour(expires_in: Any, seconds: float) -> None:
    told = answer({"access_token": "abc", "token_type": "Bearer", "expires_in": expires_in})
    assert read_answer(told) == Issued("abc", seconds)


@pytest.mark.parametrize(("number", "seconds"), [(b"NaN", 300), (b"Infinity", 3600), (b"-1e999", 0), (b"1e999", 3600)])
def test_numbers_that_json_does_not_know_do_no_harm(number: bytes, seconds: float) -> None:
    assert read_answer(answer(b'{"access_token":"abc","expires_in":' + number + b"}")) == Issued("abc", seconds)


def test_a_life_that_is_not_stated_is_short() -> None:
    assert read_answer(answer({"access_token": "abc"})) == Issued("abc", 300)


@pytest.mark.parametrize("kind", ["bearer", "Bearer", "BEARER"])
def test_the_type_may_be_written_in_any_case(kind: str) -> None:
    assert isinstance(read_answer(answer({"access_token": "abc", "token_type": kind})), Issued)


@each(
    "document",
    [
        b"",
        b"<html>log in</html>",
        b"access_token=abc",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"1" * 5_000,
        [],
        "abc",
        None,
        {},
        {"error": "invalid_client", "error_description": "planted"},
        {"access_token": ""},
        {"access_token": None},
        {"access_token": 17},
        {"access_token": "two words"},
        {"access_token": "line\r\nX-Injected: 1"},
        {"access_token": "ä"},
        {"access_token": "\ud800"},
        {"access_token": "\x7f"},
        {"access_token": "x" * (MAX_CHARACTERS + 1)},
        {"access_token": "abc", "token_type": "mac"},
        {"access_token": "abc", "token_type": None},
        {"access_token": "abc", "token_type": ["bearer"]},
    ],
)
def test_an_answer_without_a_usable_token_is_a_failure(document: Any) -> None:
    assert why(answer(document)) == "the token server's answer holds no token"


def test_the_longest_token_is_taken() -> None:
    assert read_answer(answer({"access_token": "x" * MAX_CHARACTERS})) == Issued("x" * MAX_CHARACTERS, 300)


@pytest.mark.parametrize("status", [101, 201, 204, 302, 400, 401, 429, 500, 503, 999])
def test_only_200_brings_a_token(status: int) -> None:
    assert why(answer({"access_token": "planted"}, status)) == f"the token server answered {status}"


def test_an_answer_that_was_cut_is_not_looked_into() -> None:
    assert why(answer({"access_token": "planted"}, body_cut=True)) == "the token server's answer is too large"


@each("kind", sorted(set(FailureKind) - {FailureKind.NOT_SENT}))
def test_no_answer_is_reported_by_its_kind_and_nothing_else(kind: FailureKind) -> None:
    assert why(Failure(kind, "planted detail")) == f"no answer from the token server ({kind.value})"


def test_a_request_that_was_not_sent_stays_our_own_doing() -> None:
    failure = Failure(FailureKind.NOT_SENT, "no thread")
    assert read_answer(failure) is failure


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
documents = st.fixed_dictionaries(
    {}, optional={"access_token": json_values, "token_type": json_values | st.just("bearer"), "expires_in": json_values}
)
bodies = st.binary(max_size=200) | documents.map(lambda document: json.dumps(document).encode())


@given(body=bodies, status=st.sampled_from([200, 400]), cut=st.booleans())
def test_whatever_is_answered_comes_to_a_token_that_can_be_sent_or_to_a_failure_without_a_word_of_it(
    body: bytes, status: int, cut: bool
) -> None:
    read = read_answer(Reply(status, (), body, cut))
    if isinstance(read, Issued):
        assert (status, cut) == (200, False)
        assert 0 <= read.seconds <= 3600
        assert read.value.isascii()
        assert read.value.isprintable()
        assert " " not in read.value
        assert read.value not in repr(read)
    else:
        assert read.detail in {
            "the token server answered 400",
            "the token server's answer is too large",
            "the token server's answer holds no token",
        }
