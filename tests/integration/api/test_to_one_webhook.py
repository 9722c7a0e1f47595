"""`POST /v1/events/{id}/deliveries` and `POST /v1/webhooks/{id}/replay`."""

from typing import Any

import pytest
import redis
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.db.models import Webhook
from dispatcher.settings import Settings
from tests.factories import change, deliveries, make_account, make_webhook, redeliver_more, rows
from tests.integration.api.conftest import Api, MakeKey

UNKNOWN = "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"
SINCE = "2026-01-01T02:00:00+02:00"


@pytest.fixture
def key(make_key: MakeKey) -> str:
    return make_key("acme", Scope.READ, Scope.MANAGE)


@pytest.fixture
def webhook(database: Engine, settings: Settings) -> Webhook:
    return make_webhook(database, settings, url="https://example.com/", event_types=["taken"])


def send(api: Api, key: str, event: object, webhook: object) -> requests.Response:
    return api.call("POST", f"/v1/events/{event}/deliveries", {"webhook": str(webhook)}, token=key)


def replay(api: Api, key: str, webhook: object, **members: Any) -> requests.Response:
    return api.call("POST", f"/v1/webhooks/{webhook}/replay", {"since": SINCE, **members}, token=key)


def test_an_event_is_sent_to_one_webhook_and_asked_for_again_stays_on_its_way(
    api: Api, key: str, database: Engine, webhook: Webhook, broker: redis.Redis
) -> None:
    event = enqueue("other", 1, account="acme").event_id
    broker.flushall()
    answer = send(api, key, event, webhook.id)
    (delivery,) = deliveries(database)
    document = answer.json()
    assert (answer.status_code, document["id"], document["state"]) == (202, str(delivery.id), "ready")
    assert (document["event_id"], document["webhook_id"]) == (str(event), str(webhook.id))
    assert broker.llen("deliver") == 1
    again = send(api, key, event, webhook.id)
    assert (again.status_code, again.json()) == (200, document)
    assert broker.llen("deliver") == 1
    change(database, "UPDATE dispatcher.deliveries SET state = 'delivered', finished_at = now()")
    assert send(api, key, event, webhook.id).status_code == 202
    change(database, "UPDATE dispatcher.webhooks SET enabled = false")
    refused = send(api, key, event, webhook.id)
    assert (refused.status_code, "is disabled" in refused.json()["detail"]) == (409, True)


def test_a_replay_is_counted_ordered_and_followed_as_a_bulk_redelivery(
    api: Api, key: str, database: Engine, settings: Settings, broker: redis.Redis
) -> None:
    make_account(database)
    for event_type in ("taken", "taken.too", "other"):
        enqueue(event_type, 1, account="acme")
    change(database, "UPDATE dispatcher.events SET codec = 1, data = '' WHERE type = 'taken.too'")
    webhook = make_webhook(database, settings, url="https://example.com/", event_types=["taken"])
    dry = replay(api, key, webhook.id, dry_run=True)
    assert dry.status_code == 200
    assert (dry.json()["matched"], dry.json()["matched_complete"], dry.json()["erased"]) == (1, True, 1)
    assert dry.json()["kept_since"] > SINCE
    recent = {"since": "2999-01-01T00:00:00Z", "until": "2999-01-02T00:00:00Z", "dry_run": True}
    assert replay(api, key, webhook.id, **recent).json()["kept_since"] is None
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == deliveries(database) == []
    broker.flushall()
    answer = replay(api, key, webhook.id, per_second=1000)
    document = answer.json()
    assert (answer.status_code, broker.llen("upkeep")) == (202, 1)
    assert document["filter"] == {
        "webhook": str(webhook.id),
        "event_type": None,
        "states": ["missing", "discarded", "cancelled"],
        "reason": None,
        "since": "2026-01-01T00:00:00Z",
        "until": None,
    }
    assert (document["matched"], document["per_second"], document["redelivered"]) == (1, 1000, 0)
    assert answer.headers["Location"] == f"{api.origin}/v1/redeliveries/{document['id']}"
    assert api.call("GET", answer.headers["Location"], token=key).json() == document
    assert api.call("GET", "/v1/redeliveries", token=key).json()["items"] == [document]
    redeliver_more(settings)
    ended = api.call("GET", answer.headers["Location"], token=key).json()
    assert (ended["redelivered"], ended["skipped"], ended["finished_at"] is not None) == (1, 0, True)
    assert replay(api, key, webhook.id, delivered=True).json()["filter"]["states"][-1] == "delivered"


def test_a_replay_counts_for_the_accounts_limit_and_a_filter_takes_no_missing(
    api: Api, key: str, database: Engine, webhook: Webhook
) -> None:
    change(database, """UPDATE dispatcher.accounts SET limits = '{"bulk_redeliveries": 1}'""")
    assert [replay(api, key, webhook.id).status_code for _ in range(2)] == [202, 409]
    by_filter = {"filter": {"webhook": str(webhook.id), "states": ["missing"]}}
    assert api.call("POST", "/v1/redeliveries", by_filter, token=key).status_code == 422


def test_a_member_that_is_refused_is_named(api: Api, key: str, database: Engine, webhook: Webhook) -> None:
    event = enqueue("other", 1, account="acme").event_id
    for path, body, field in (
        (f"events/{event}/deliveries", {}, "webhook"),
        (f"events/{event}/deliveries", {"webhook": "orders"}, "webhook"),
        (f"webhooks/{webhook.id}/replay", {}, "since"),
        (f"webhooks/{webhook.id}/replay", {"since": "2026-01-01T00:00:00"}, "since"),
        (f"webhooks/{webhook.id}/replay", {"since": SINCE, "per_second": 1001}, "per_second"),
        (f"webhooks/{webhook.id}/replay", {"since": SINCE, "delivered": 1}, "delivered"),
    ):
        answer = api.call("POST", f"/v1/{path}", body, token=key)
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert deliveries(database) == rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []


def test_another_accounts_things_do_not_exist_and_a_reader_may_not(
    api: Api, key: str, make_key: MakeKey, database: Engine, settings: Settings, webhook: Webhook
) -> None:
    event = enqueue("other", 1, account="acme").event_id
    stranger, theirs = make_key("other", Scope.MANAGE), make_webhook(database, settings, url="https://a.example/")
    change(
        database,
        "UPDATE dispatcher.webhooks SET account_id = (SELECT id FROM dispatcher.accounts WHERE name = 'other')"
        " WHERE id = :id",
        id=theirs.id,
    )
    for ask, own in (
        (lambda one: send(api, stranger, one, theirs.id), str(event)),
        (lambda one: send(api, key, event, one), str(theirs.id)),
        (lambda one: replay(api, stranger, one), str(webhook.id)),
    ):
        found = [ask(one) for one in (own, UNKNOWN)]
        assert [answer.status_code for answer in found] == [404, 404]
        assert found[0].text.replace(own, UNKNOWN) == found[1].text
    reader = make_key("acme", Scope.READ, Scope.SEND)
    assert send(api, reader, event, webhook.id).status_code == replay(api, reader, webhook.id).status_code == 403
    operator = make_key(None, Scope.OPERATOR)
    assert send(api, operator, event, theirs.id).status_code == 404
    assert deliveries(database) == rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []
    assert send(api, operator, event, webhook.id).status_code == replay(api, operator, webhook.id).status_code == 202
