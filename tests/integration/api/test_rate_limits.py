"""A key's requests are counted over all API processes, and not at all while the broker is away."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

from dispatcher.accounts.api_keys import Scope
from dispatcher.settings import Settings
from dispatcher.web.rate_limits import RateLimits
from tests.dead_ports import refusing_port
from tests.integration.api.conftest import Api, MakeKey, Restarted

Limit: TypeAlias = Callable[..., None]


@pytest.fixture
def limit(settings: Settings, monkeypatch: pytest.MonkeyPatch, restarted: Restarted) -> Limit:
    """Sets the requests a minute that the server lets a key make, and other variables."""

    def change(per_minute: int, **variables: str) -> None:
        for name, value in {"DISPATCHER_API_REQUESTS_PER_MINUTE": str(per_minute), **variables}.items():
            monkeypatch.setenv(name, value)
        restarted()

    return change


def test_a_key_has_its_requests_and_then_must_wait(settings: Settings, broker: object) -> None:
    url = settings.broker_url.get_secret_value()
    one, other = RateLimits(url, 5), RateLimits(url, 5)
    assert [one.seconds_to_wait("k"), other.seconds_to_wait("k"), *(one.seconds_to_wait("k") for _ in range(3))] == [
        0
    ] * 5
    assert 1 <= other.seconds_to_wait("k") <= 60
    assert one.seconds_to_wait("another") == 0


def test_without_the_broker_nobody_has_to_wait() -> None:
    limits = RateLimits(f"redis://127.0.0.1:{refusing_port()}/0", 1)
    assert [limits.seconds_to_wait("k") for _ in range(3)] == [0, 0, 0]


def test_one_request_too_many_is_reported_with_the_time_to_wait(
    api: Api, make_key: MakeKey, limit: Limit, broker: object
) -> None:
    limit(3)
    key, other = make_key("acme", Scope.READ), make_key("acme", Scope.READ)
    paths = ("/v1/events", "/v1/deliveries", "/v1/nowhere-to-be-counted", "/v1/redeliveries")
    assert [api.call("GET", path, token=key).status_code for path in paths] == [200, 200, 404, 200]
    refused = api.call("GET", "/v1/events", token=key)
    assert (refused.status_code, refused.headers["Content-Type"]) == (429, "application/problem+json")
    assert refused.json() == {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "more than 3 requests a minute with this API key",
    }
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "X-Request-Id" in refused.headers
    assert api.call("GET", "/v1/events", token=other).status_code == 200
    assert api.call("GET", "/v1/events", token=f"{key}x").status_code == 401


def test_a_keys_tokens_and_the_request_for_them_count_with_it(
    api: Api, make_key: MakeKey, limit: Limit, broker: object
) -> None:
    limit(2)
    identifier, _, secret = make_key("acme", Scope.READ).partition(".")
    form = {"grant_type": "client_credentials", "client_id": identifier, "client_secret": secret}
    ask = {"data": form}
    token = api.call("POST", "/oauth2/token", **ask).json()["access_token"]
    assert api.call("GET", "/v1/events", token=token).status_code == 200
    assert api.call("GET", "/v1/events", token=token).status_code == 429
    refused = api.call("POST", "/oauth2/token", **ask)
    assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (429, True)


def test_with_the_broker_away_every_request_is_let_in(
    api: Api, make_key: MakeKey, limit: Limit, broker: object
) -> None:
    key = make_key("acme", Scope.READ)
    limit(1, BROKER_URL=f"redis://127.0.0.1:{refusing_port()}/0")
    assert [api.call("GET", "/v1/events", token=key).status_code for _ in range(4)] == [200] * 4


def test_a_limit_of_zero_is_none(api: Api, make_key: MakeKey, limit: Limit, broker: object) -> None:
    key = make_key("acme", Scope.READ)
    limit(0)
    assert [api.call("GET", "/v1/events", token=key).status_code for _ in range(4)] == [200] * 4
