"""`/v1/redeliveries`: ordered, counted only, followed, cancelled."""

from typing import Any
from uuid import UUID

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

PATH = "/v1/redeliveries"
UNKNOWN = "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"
NOTHING = {"webhook": None, "event_type": None, "states": ["discarded"], "reason": None, "since": None, "until": None}


@pytest.fixture
def key(make_key: MakeKey) -> str:
    return make_key("acme", Scope.READ, Scope.MANAGE)


@pytest.fixture
def webhook(database: Engine, settings: Settings) -> Webhook:
    return make_webhook(database, settings, url="https://example.com/")


def discard(database: Engine, number: int, account: str = "acme") -> None:
    for _ in range(number):
        enqueue("message.sent", 1, account=account)
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected', finished_at = now()"
        " WHERE state = 'ready'",
    )


def order(api: Api, key: str, body: Any = None, **members: Any) -> requests.Response:
    return api.call("POST", PATH, token=key, json=body if body is not None else {"filter": {}, **members})


def show(api: Api, key: str, identifier: str) -> Any:
    return api.call("GET", f"{PATH}/{identifier}", token=key).json()


def test_one_is_ordered_followed_and_ends(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook, broker: redis.Redis
) -> None:
    discard(database, 3)
    broker.flushall()
    answer = order(api, key, {"filter": {"webhook": str(webhook.id), "reason": "rejected"}, "per_second": 1000})
    document = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"{api.origin}{PATH}/{document['id']}"
    assert document["filter"] == {**NOTHING, "webhook": str(webhook.id), "reason": "rejected"}
    assert (document["account"], document["per_second"], document["matched"]) == ("acme", 1000, 3)
    assert (document["redelivered"], document["skipped"], document["finished_at"]) == (0, None, None)
    assert broker.llen("upkeep") == 1
    assert show(api, key, document["id"]) == document
    redeliver_more(settings)
    ended = show(api, key, document["id"])
    assert (ended["redelivered"], ended["skipped"], ended["finished_at"][-1]) == (3, 0, "Z")
    again = api.call("POST", f"{PATH}/{document['id']}/cancel", token=key)
    assert (again.status_code, "finished already" in again.json()["detail"]) == (409, True)


def test_every_member_of_the_filter_is_kept(api: Api, key: str, database: Engine) -> None:
    wanted = {
        "event_type": "message",
        "states": ["cancelled", "delivered"],
        "since": "2026-01-01T02:00:00+02:00",
        "until": "2026-02-01T00:00:00Z",
    }
    kept = order(api, key, filter=wanted).json()["filter"]
    assert kept == {**NOTHING, **wanted, "since": "2026-01-01T00:00:00Z"}


def test_a_dry_run_counts_and_orders_nothing(api: Api, key: str, database: Engine, webhook: Webhook) -> None:
    discard(database, 2)
    answer = order(api, key, dry_run=True)
    assert (answer.status_code, answer.json()) == (200, {"matched": 2, "matched_complete": True})
    assert order(api, key, dry_run=True, filter={"event_type": "other"}).json() == {
        "matched": 0,
        "matched_complete": True,
    }
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []


def test_a_cancelled_one_stays_where_it_is(
    api: Api, key: str, database: Engine, settings: Settings, webhook: Webhook
) -> None:
    discard(database, 12)
    identifier = order(api, key, per_second=2).json()["id"]
    redeliver_more(settings)
    cancelled = api.call("POST", f"{PATH}/{identifier}/cancel", token=key)
    assert (cancelled.status_code, cancelled.json()["finished_at"]) == (200, None)
    assert cancelled.json()["cancelled_at"] is not None
    assert 2 <= cancelled.json()["redelivered"] < 12
    change(database, "UPDATE dispatcher.redeliveries SET used_until = now() - interval '1 minute'")
    redeliver_more(settings)
    assert show(api, key, identifier) == cancelled.json()
    assert api.call("POST", f"{PATH}/{identifier}/cancel", token=key).status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filter"),
        ({"filter": None}, "filter"),
        ({"filter": {"states": ["ready"]}}, "filter.states.0"),
        ({"filter": {"states": []}}, "filter.states"),
        ({"filter": {"reason": "bored"}}, "filter.reason"),
        ({"filter": {"webhook": "7"}}, "filter.webhook"),
        ({"filter": {"event_type": "no type"}}, "event_type"),
        ({"filter": {"event_type": "a\0"}}, "filter.event_type"),
        ({"filter": {"since": "2026-01-01T00:00:00"}}, "filter.since"),
        ({"filter": {"until": "0001-01-01T00:00:00+01:00"}}, "filter.until"),
        ({"filter": {"state": "discarded"}}, "filter.state"),
        ({"filter": {}, "per_second": 0}, "per_second"),
        ({"filter": {}, "per_second": 1001}, "per_second"),
        ({"filter": {}, "per_second": "5"}, "per_second"),
        ({"filter": {}, "dry_run": 1}, "dry_run"),
        ({"filter": {}, "speed": 1}, "speed"),
    ],
)
def test_a_member_that_is_refused_is_named(
    api: Api, key: str, database: Engine, body: dict[str, Any], field: str
) -> None:
    answer = order(api, key, body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []


def test_times_far_off_are_taken(api: Api, key: str, database: Engine) -> None:
    far = {"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}
    answer = order(api, key, filter=far)
    assert (answer.status_code, show(api, key, answer.json()["id"])["filter"]) == (202, {**NOTHING, **far})


def test_they_are_listed_page_by_page_while_more_are_ordered(api: Api, key: str, database: Engine) -> None:
    made = [order(api, key).json()["id"] for _ in range(4)]
    seen, cursor = [], None
    while True:
        page = api.call("GET", PATH, token=key, params={"limit": 2, "cursor": cursor}).json()
        seen += [item["id"] for item in page["items"]]
        order(api, key)
        if (cursor := page["next"]) is None:
            break
    assert seen == made[::-1]


def test_too_many_at_once_are_a_conflict(api: Api, key: str, database: Engine) -> None:
    change(database, """UPDATE dispatcher.accounts SET limits = '{"bulk_redeliveries": 2}'""")
    assert [order(api, key).status_code for _ in range(2)] == [202, 202]
    refused = order(api, key)
    assert refused.status_code == 409
    assert "2 bulk redeliveries under way (its limit `bulk_redeliveries`)" in refused.json()["detail"]
    assert order(api, key, dry_run=True).status_code == 200


def test_another_accounts_do_not_exist(
    api: Api, key: str, make_key: MakeKey, database: Engine, webhook: Webhook
) -> None:
    identifier = order(api, key).json()["id"]
    stranger = make_key("other", Scope.READ, Scope.MANAGE)
    for method, action in (("GET", ""), ("POST", "/cancel")):
        found = [api.call(method, f"{PATH}/{one}{action}", token=stranger) for one in (identifier, UNKNOWN)]
        assert [answer.status_code for answer in found] == [404, 404]
        assert found[0].text.replace(identifier, UNKNOWN) == found[1].text
    assert api.call("GET", PATH, token=stranger).json()["items"] == []
    webhooks = [order(api, stranger, filter={"webhook": one}) for one in (str(webhook.id), UNKNOWN)]
    assert [answer.status_code for answer in webhooks] == [404, 404]
    assert webhooks[0].text.replace(str(webhook.id), UNKNOWN) == webhooks[1].text
    assert order(api, stranger, account="acme").status_code == 403
    assert show(api, key, identifier)["cancelled_at"] is None


def test_an_operator_names_the_account_or_the_webhook(
    api: Api, make_key: MakeKey, database: Engine, webhook: Webhook
) -> None:
    operator = make_key(None, Scope.OPERATOR)
    make_account(database, "other")
    discard(database, 1)
    assert order(api, operator).status_code == 422
    assert order(api, operator, account="nobody").status_code == 422
    assert order(api, operator, filter={"webhook": UNKNOWN}).status_code == 404
    assert order(api, operator, filter={"webhook": str(webhook.id)}, account="other").status_code == 404
    assert order(api, operator, account="other", dry_run=True).json() == {"matched": 0, "matched_complete": True}
    made = [
        order(api, operator, account="acme").json(),
        order(api, operator, filter={"webhook": str(webhook.id)}).json(),
    ]
    assert [(one["account"], one["matched"]) for one in made] == [("acme", 1), ("acme", 1)]
    listed = api.call("GET", PATH, token=operator, params={"account": "acme"}).json()["items"]
    assert listed == made[::-1]
    assert show(api, operator, made[0]["id"]) == made[0]
    assert api.call("POST", f"{PATH}/{made[0]['id']}/cancel", token=operator).status_code == 200


def test_they_need_the_scope_for_changes(api: Api, make_key: MakeKey, database: Engine, webhook: Webhook) -> None:
    discard(database, 1)
    reader, manager = make_key("acme", Scope.READ), make_key("acme", Scope.MANAGE)
    assert order(api, reader).status_code == order(api, reader, dry_run=True).status_code == 403
    identifier = order(api, manager).json()["id"]
    assert api.call("POST", f"{PATH}/{UUID(identifier)}/cancel", token=reader).status_code == 403
    assert api.call("GET", PATH, token=manager).status_code == 403
    assert {delivery.state for delivery in deliveries(database)} == {"discarded"}
