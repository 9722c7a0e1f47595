"""Whoever shows too many wrong secrets is told to wait, and costs little; a right one is never refused for that."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.web import authentication, guesses
from dispatcher.web.failed_attempts import PER_MINUTE
from tests.factories import change
from tests.integration.api.conftest import Api, MakeKey

WRONG = "0198a6d190aa7c33a2b70d5f1c9e4a77.wrong"
Way = Callable[[Api, str], requests.Response]


def by_bearer(api: Api, token: str) -> requests.Response:
    return api.call("GET", "/v1/events", token=token)


def by_basic(api: Api, token: str) -> requests.Response:
    shown = base64.b64encode(token.replace(".", ":", 1).encode()).decode()
    return api.call("GET", "/bulksms/v1/webhooks", headers={"Authorization": f"Basic {shown}"})


def by_oauth2(api: Api, token: str) -> requests.Response:
    identifier, _, secret = token.partition(".")
    form = {"grant_type": "client_credentials", "client_id": identifier, "client_secret": secret}
    return api.call("POST", "/oauth2/token", data=form)


def by_login(api: Api, token: str) -> requests.Response:
    identifier, _, secret = token.partition(".")
    return api.call("POST", "/zipwhip/user/login", data={"username": identifier, "password": secret})


def by_session(api: Api, token: str) -> requests.Response:
    return api.call("POST", "/zipwhip/webhook/list", data={"session": token})


WAYS = [by_bearer, by_basic, by_oauth2, by_login, by_session]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """How often the database was asked about one secret."""
    asked: list[Any] = []
    ask = authentication._caller
    monkeypatch.setattr(authentication, "_caller", lambda *given: asked.append(given) or ask(*given))
    return asked


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many secrets were compared by one query."""
    sizes: list[int] = []
    valid = guesses.are_valid
    monkeypatch.setattr(guesses, "are_valid", lambda given, shown: sizes.append(len(shown)) or valid(given, shown))
    return sizes


@pytest.mark.parametrize("way", WAYS)
def test_wrong_secrets_of_an_address_are_refused_with_429_beyond_a_limit_however_they_are_shown(
    api: Api, make_key: MakeKey, way: Way
) -> None:
    wrong = [way(api, WRONG) for _ in range(PER_MINUTE + 30)]
    assert {answer.status_code for answer in wrong[:PER_MINUTE]} <= {401, 200}  # Zipwhip's errors are all 200
    limited = [answer for answer in wrong if "from this address without a valid key" in answer.text]
    assert limited
    assert all(answer.headers.get("Retry-After", "1").isdecimal() for answer in limited)
    if way in {by_bearer, by_basic, by_oauth2}:
        assert {answer.status_code for answer in limited} == {429}
        assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in limited)


def test_the_limit_is_one_for_all_ways(api: Api) -> None:
    for _ in range(PER_MINUTE + 20):
        by_bearer(api, WRONG)
    assert [way(api, WRONG).status_code for way in (by_bearer, by_basic, by_oauth2)] == [429] * 3


@pytest.mark.parametrize("way", WAYS)
def test_a_right_secret_is_never_refused_for_the_failures_of_others(api: Api, make_key: MakeKey, way: Way) -> None:
    right = make_key("acme", Scope.READ)
    shown = by_login(api, right).json()["response"] if way is by_session else right
    for _ in range(PER_MINUTE + 20):
        by_bearer(api, WRONG)
    assert by_bearer(api, WRONG).status_code == 429
    answer = way(api, shown)
    assert answer.status_code == 200
    assert "valid" not in answer.text


def test_an_access_token_and_one_that_has_expired_are_not_refused_for_them_either(
    api: Api, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = make_key("acme", Scope.READ)
    token = by_oauth2(api, right).json()["access_token"]
    for _ in range(PER_MINUTE + 20):
        by_bearer(api, WRONG)
    assert by_bearer(api, token).status_code == 200
    assert by_bearer(api, f"{token}0").status_code == 429


def test_beyond_the_limit_wrong_secrets_cost_no_look_and_share_queries(
    api: Api, looks: list[Any], groups: list[int]
) -> None:
    for _ in range(PER_MINUTE + 20):
        by_bearer(api, WRONG)
    before = len(looks)
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: by_bearer(api, f"{WRONG}{n}").status_code, range(100)))
    assert found.count(429) >= 90  # one a second is within the limit
    assert len(looks) - before <= 10
    assert sum(groups) >= 90
    assert len(groups) <= sum(groups)


def test_a_key_that_was_revoked_and_a_session_of_it_are_wrong_too(
    api: Api, make_key: MakeKey, database: Engine, looks: list[Any]
) -> None:
    revoked = make_key("acme", Scope.READ)
    session = by_login(api, revoked).json()["response"]
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now()")
    for _ in range(PER_MINUTE + 20):
        by_bearer(api, revoked)
    before = len(looks)
    assert by_bearer(api, revoked).status_code == 429
    assert "from this address without a valid key" in by_session(api, session).text
    assert len(looks) == before


def test_who_shows_nothing_is_no_guesser_and_costs_no_look(api: Api, looks: list[Any]) -> None:
    headers = {"Authorization": "Digest x"}
    for _ in range(PER_MINUTE + 20):
        assert api.call("GET", "/v1/events", headers=headers).status_code == 401
    assert api.call("GET", "/v1/events").status_code == 401
    assert looks == []
