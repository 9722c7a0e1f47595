"""The URL verification of `/v1/webhooks`: when it is made, what it decides, who may skip it."""

from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import make_account, make_webhook, rows
from tests.integration.api.conftest import Api, errors
from tests.receiver import Receiver


def stored(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.webhooks ORDER BY number")


def new(url: str, **members: Any) -> dict[str, Any]:
    return {"url": url, "event_types": ["*"], **members}


def test_a_new_webhook_must_answer_an_empty_array_first(api: Api, manager: str, receiver: Receiver) -> None:
    made = api.call("POST", "/v1/webhooks", new(receiver.url("/hook"), headers={"X-Key": "k"}), token=manager)
    assert made.status_code == 201
    (tested,) = receiver.received
    assert (tested.method, tested.body, tested.header("X-Key")) == ("POST", b"[]", "k")
    assert tested.header("webhook-signature") is not None


@pytest.mark.parametrize(
    ("path", "told"), [("/status/403", "403 - Forbidden"), ("/status/302", "302 - Found"), ("/status/500", "500 - ")]
)
def test_one_that_does_not_is_refused_with_what_came_back(
    api: Api, manager: str, database: Engine, receiver: Receiver, path: str, told: str
) -> None:
    answer = api.call("POST", "/v1/webhooks", new(receiver.url(f"{path}?key=planted")), token=manager)
    assert answer.status_code == 422
    assert told in errors(answer)["url"]
    assert "planted" not in answer.text
    assert stored(database) == []


@pytest.mark.parametrize(
    ("members", "method"),
    [
        ({"contract": {"batch_size": 10}}, "POST"),
        ({"contract": {"method": "PUT"}}, "PUT"),
        ({"contract": {"members": [["d", "data"]]}}, "POST"),
        ({"contract": {"method": "GET"}}, None),
        ({"contract": {"envelope": "object"}}, None),
        ({"enabled": False}, None),
    ],
)
def test_it_is_made_where_callbacks_are_arrays_in_a_body_and_the_webhook_is_enabled(
    api: Api, manager: str, receiver: Receiver, members: dict[str, Any], method: str | None
) -> None:
    made = api.call("POST", "/v1/webhooks", new(receiver.url("/hook"), **members), token=manager)
    assert made.status_code == 201
    assert [request.method for request in receiver.received] == ([method] if method else [])


@pytest.mark.parametrize(
    ("change", "tested"),
    [
        ({"url": "/other"}, True),
        ({"contract": {"timeout_seconds": 9}}, True),
        ({"contract": None}, True),
        ({"contract": {"envelope": "object"}}, False),
        ({"authorization": {"kind": "bearer", "token": "t"}}, True),
        ({"headers": {"X-Key": "k"}}, True),
        ({"enabled": True}, True),
        ({"url": "/other", "enabled": False}, False),
        ({"enabled": False}, False),
        ({"name": "n", "app": "a", "contact_email": "a@b.example", "event_types": ["message"]}, False),
        ({"signing": None}, False),
        ({}, False),
    ],
)
def test_a_change_of_what_it_depends_on_is_tested(
    api: Api,
    manager: str,
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    change: dict[str, Any],
    tested: bool,
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    for path in ("/hook", "/other"):
        receiver.script(path, Answer(400))
    if "url" in change:
        change = {**change, "url": receiver.url(change["url"])}
    before = stored(database)
    answer = api.call("PATCH", f"/v1/webhooks/{webhook.id}", change, token=manager)
    assert answer.status_code == (422 if tested else 200)
    assert len(receiver.received) == (1 if tested else 0)
    if tested:
        assert "400 - Bad Request" in errors(answer)["url"]
        assert stored(database) == before


def test_a_webhook_is_enabled_once_it_answers(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), enabled=False)
    receiver.script("/hook", Answer(503), Answer(204))
    refused = api.call("POST", f"/v1/webhooks/{webhook.id}/enable", token=manager)
    assert (refused.status_code, list(errors(refused))) == (422, ["url"])
    assert not stored(database)[0].enabled
    assert api.call("POST", f"/v1/webhooks/{webhook.id}/enable", token=manager).status_code == 200
    assert stored(database)[0].enabled


def test_where_too_many_are_under_way_one_is_asked_to_come_back(
    api: Api, manager: str, database: Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.webhooks.url_verification.AT_ONCE", 0)
    answer = api.call("POST", "/v1/webhooks", new(receiver.url("/hook")), token=manager)
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert answer.json()["detail"] == (
        "0 URLs can be verified at once for all accounts, and none of them is left for this one: try again later"
    )
    assert stored(database) == receiver.received == []


def test_an_account_with_too_many_under_way_is_shown_its_limit(
    api: Api, manager: str, database: Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.webhooks.url_verification.ACCOUNT_AT_ONCE", 0)
    answer = api.call("POST", "/v1/webhooks", new(receiver.url("/hook")), token=manager)
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (429, True)
    assert answer.json()["detail"] == (
        "0 URLs of this account are being verified, the most at once for one account: try again when one has ended"
    )
    assert stored(database) == receiver.received == []


def test_an_operator_may_skip_it_and_nobody_else(
    api: Api, manager: str, operator: str, database: Engine, receiver: Receiver
) -> None:
    make_account(database)
    receiver.script("/hook", Answer(400))
    body = new(receiver.url("/hook"), skip_url_verification=True)
    assert api.call("POST", "/v1/webhooks", body, token=manager).status_code == 403
    made = api.call("POST", "/v1/webhooks", {**body, "account": "acme"}, token=operator)
    assert made.status_code == 201
    path = made.headers["Location"]
    for method, place, change in (
        ("PATCH", path, {"headers": {"X-Key": "k"}, "skip_url_verification": True}),
        ("POST", f"{path}/enable", {"skip_url_verification": True}),
    ):
        assert api.call(method, place, change, token=manager).status_code == 403
        assert api.call(method, place, change, token=operator).status_code == 200
    assert receiver.received == []
    assert stored(database)[0].version == 3
