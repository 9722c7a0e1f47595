"""`GET /v1/events` and one of them: by every filter, page by page, and never another account's."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.events import history
from dispatcher.ids import time_of
from dispatcher.settings import Settings
from tests.factories import deliver_all, make_account, make_webhook
from tests.integration.api.conftest import Api, MakeKey
from tests.receiver import Receiver


@pytest.fixture
def reader(make_key: MakeKey) -> str:
    return make_key("acme", Scope.READ)


def make(event_type: str = "message.sent", **options: Any) -> str:
    return str(enqueue(event_type, 1, account=options.pop("account", "acme"), **options).event_id)


def listed(api: Api, token: str, **query: Any) -> list[str]:
    answer = api.call("GET", "/v1/events", token=token, params=query)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_events_are_found_by_type_subject_app_time_and_what_no_webhook_took(
    api: Api, reader: str, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="https://example.com/", event_types=["message.sent"])
    sent, failed = make(subject="a"), make("message.failed", subject="a", app="shop")
    other = make("messages", subject="b")
    make(account=make_account(database, "other"))
    assert listed(api, reader) == [other, failed, sent]
    assert listed(api, reader, type="message") == [failed, sent]
    assert listed(api, reader, type="message.sent") == [sent]
    assert listed(api, reader, type="message_") == []
    assert listed(api, reader, subject="a") == [failed, sent]
    assert listed(api, reader, app="shop") == [failed]
    assert listed(api, reader, app="shop", type="messages") == []
    assert listed(api, reader, undelivered=True) == [other, failed]
    assert listed(api, reader, undelivered=True, type="message") == [failed]
    now = datetime.now(UTC)
    assert listed(api, reader, since=(now - timedelta(hours=1)).isoformat()) == [other, failed, sent]
    assert listed(api, reader, since=(now + timedelta(hours=1)).isoformat()) == []
    assert listed(api, reader, until=(now - timedelta(hours=1)).isoformat()) == []
    assert listed(api, reader, since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z") == [other, failed, sent]
    moment = time_of(UUID(failed))
    assert sent not in listed(api, reader, since=(moment + timedelta(milliseconds=1)).isoformat())


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"since": "yesterday"}, "since"),
        ({"until": "2026-01-01T00:00:00"}, "until"),
        ({"until": "1767225600"}, "until"),
        ({"until": "0.5"}, "until"),
        ({"cursor": "x" * 23}, "cursor"),
        ({"until": "9999-12-31T23:59:59-05:00"}, "until"),
        ({"subject": "a\0"}, "subject"),
        ({"type": "\0"}, "type"),
        ({"app": ""}, "app"),
        ({"undelivered": "perhaps"}, "undelivered"),
    ],
)
def test_a_parameter_that_is_refused_is_named(api: Api, reader: str, query: dict[str, Any], field: str) -> None:
    answer = api.call("GET", "/v1/events", token=reader, params=query)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_pages_stay_right_while_events_come_in(api: Api, reader: str) -> None:
    made = [make() for _ in range(7)]
    seen, cursor = [], None
    while True:
        page = api.call("GET", "/v1/events", token=reader, params={"limit": 3, "cursor": cursor}).json()
        seen += [item["id"] for item in page["items"]]
        make()
        if (cursor := page["next"]) is None:
            break
    assert seen == made[::-1]


def test_a_filter_without_an_index_looks_at_so_many_events_for_a_page(
    api: Api, reader: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LOOKED_AT", 4)
    wanted = [make("rare"), make("rare")]
    for _ in range(9):
        make()
    seen, pages, cursor = [], [], None
    while True:
        query = {"type": "rare", "limit": 1, "cursor": cursor}
        page = api.call("GET", "/v1/events", token=reader, params=query).json()
        pages.append(len(page["items"]))
        seen += [item["id"] for item in page["items"]]
        make("rare")
        if (cursor := page["next"]) is None:
            break
    assert (seen, pages) == (wanted[::-1], [0, 0, 1, 1])


def test_one_event_is_shown_with_its_very_message_and_its_deliveries(
    api: Api, reader: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook?key=planted"), name="main")
    data = '{ "id": 123456789012345678901234567890, "rate": 1.10, "a": 1, "a": 1e400, "text": "na\\u00efve 🎉" }'
    identifier = enqueue("message.sent", data.encode(), account="acme", subject="msg-1", app="shop").event_id
    deliver_all(settings)
    answer = api.call("GET", f"/v1/events/{identifier}", token=reader)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.content.endswith(f',"data":{data}}}'.encode())
    assert b"planted" not in answer.content
    document = answer.json()
    assert (document["id"], document["account"], document["app"]) == (str(identifier), "acme", "shop")
    assert (document["subject"], document["delivery_count"], document["expires_at"]) == ("msg-1", 1, None)
    assert document["created_at"].endswith("Z")
    (delivery,) = document["deliveries"]
    assert (delivery["state"], delivery["webhook_id"], delivery["webhook_name"]) == (
        "delivered",
        str(webhook.id),
        "main",
    )


def test_another_accounts_events_do_not_exist(api: Api, reader: str, make_key: MakeKey, database: Engine) -> None:
    theirs = make(account=make_account(database, "other"), subject="theirs")
    unknown = "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"
    found = [api.call("GET", f"/v1/events/{identifier}", token=reader) for identifier in (theirs, unknown)]
    assert [answer.status_code for answer in found] == [404, 404]
    assert found[0].text.replace(theirs, unknown) == found[1].text
    assert listed(api, reader, subject="theirs") == []
    for name in ("other", "nobody"):
        refused = api.call("GET", "/v1/events", token=reader, params={"account": name})
        assert (refused.status_code, refused.json()["detail"]) == (403, "the API key is another account's")
    assert api.call("GET", "/v1/events/7", token=reader).status_code == 404
    assert api.call("GET", "/v1/events/batch", token=reader).status_code == 405


def test_an_operator_names_the_account_of_a_list_and_finds_one_by_its_id(
    api: Api, make_key: MakeKey, database: Engine
) -> None:
    operator = make_key(None, Scope.OPERATOR)
    make_account(database, "acme")
    event = make()
    assert listed(api, operator, account="acme") == [event]
    assert json.loads(api.call("GET", f"/v1/events/{event}", token=operator).text)["account"] == "acme"
    for query in ({}, {"account": "nobody"}):
        answer = api.call("GET", "/v1/events", token=operator, params=query)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "account")
    assert api.call("GET", "/v1/events/0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", token=operator).status_code == 404


def test_looking_needs_the_scope_read(api: Api, make_key: MakeKey) -> None:
    sender = make_key("acme", Scope.SEND, Scope.MANAGE)
    assert api.call("GET", "/v1/events", token=sender).status_code == 403
    assert api.call("GET", "/v1/events/0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", token=sender).status_code == 403
