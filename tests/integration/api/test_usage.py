"""An account's rates over HTTP, and what it is told of them."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.rate_counts import RATES
from dispatcher.settings import Settings
from dispatcher.settings.quotas import DEFAULTS, Quota
from tests.api_document import DOCUMENT
from tests.dead_ports import refusing_port
from tests.factories import RECEIVED, change, make_webhook, rows, upkeep_once
from tests.integration.accounts.test_limits import limit
from tests.integration.api.conftest import Api, MakeKey, Restarted
from tests.receiver import Receiver

EVENT = {"type": RECEIVED, "data": 1}
ANY = (Scope.READ, Scope.SEND, Scope.MANAGE)


@pytest.fixture
def key(make_key: MakeKey, broker: object) -> str:
    return make_key("acme", *ANY)


def told(api: Api, key: str) -> dict[str, Any]:
    return {use["quota"]: use for use in api.call("GET", "/v1/usage", token=key).json()["quotas"]}


def refused(answer: Any, quota: Quota, value: str) -> None:
    assert answer.status_code == 429, answer.text
    assert f"{value} " in answer.json()["detail"]
    assert f"`{quota}`" in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) >= 1


def test_an_account_sees_its_limits_and_what_it_has_used(
    api: Api, key: str, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="https://example.com/")
    limit(database, {Quota.WEBHOOKS: 7})
    change(database, "UPDATE dispatcher.installation SET stored_to = NULL")
    assert api.post_event(EVENT, token=key).status_code == 202
    assert api.call("POST", "/v1/events/batch", {"events": [EVENT, EVENT, {}]}, token=key).status_code == 200
    found = told(api, key)
    assert found.keys() == set(Quota)
    assert {name: use["limit"] for name, use in found.items()} == {**DEFAULTS, Quota.WEBHOOKS: 7}
    used = {name: use["used"] for name, use in found.items()}
    assert (used["webhooks"], used["keys"], used["bulk_redeliveries"], used["requests_in_flight"]) == (1, 1, 0, 0)
    assert used["events_per_day"] in {4, 5}  # one more if it is counted in advance
    assert used["writes_per_minute"] == 0
    assert (used["stored_bytes"], found["stored_bytes"]["counted_at"]) == (None, None)


def test_stored_bytes_say_when_they_were_counted(
    api: Api, key: str, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.maintenance.stored_events.LATE", timedelta(seconds=-5))
    enqueue(RECEIVED, "x" * 10_000, account="acme")
    upkeep_once(settings)
    stored = told(api, key)["stored_bytes"]
    assert stored["used"] > 10_000
    assert stored["counted_at"] is not None


def test_an_operator_names_the_account(api: Api, key: str, operator: str) -> None:
    assert api.call("GET", "/v1/usage", token=operator).status_code == 422
    assert api.call("GET", "/v1/usage?account=acme", token=operator).json()["account"] == "acme"
    assert api.call("GET", "/v1/usage?account=globex", token=key).status_code == 403


def test_events_above_a_limit_are_refused_and_nothing_of_them_is_stored(
    api: Api, key: str, make_key: MakeKey, database: Engine
) -> None:
    limit(database, {Quota.EVENTS_PER_DAY: 3})
    assert [api.post_event(EVENT, token=key).status_code for _ in range(2)] == [202, 202]
    refused(api.call("POST", "/v1/events/batch", {"events": [EVENT] * 2}, token=key), Quota.EVENTS_PER_DAY, "3")
    assert api.post_event(EVENT, token=make_key("acme", Scope.SEND)).status_code == 202
    refused(api.post_event(EVENT, token=key), Quota.EVENTS_PER_DAY, "3")
    assert len(api.call("GET", "/v1/events", token=key).json()["items"]) == 3


def test_enqueue_and_operators_have_no_limit_of_events(api: Api, key: str, operator: str, database: Engine) -> None:
    limit(database, {Quota.EVENTS_PER_DAY: 1, Quota.STORED_BYTES: 1})
    change(database, "UPDATE dispatcher.accounts SET stored_bytes = 1")
    refused(api.post_event(EVENT, token=key), Quota.STORED_BYTES, "1")
    for _ in range(3):
        enqueue(RECEIVED, 1, account="acme")
        assert api.post_event({**EVENT, "account": "acme"}, token=operator).status_code == 202


def test_reads_and_writes_are_counted_apart_and_over_all_keys(
    api: Api, key: str, make_key: MakeKey, operator: str, database: Engine
) -> None:
    limit(database, {Quota.READS_PER_MINUTE: 2, Quota.WRITES_PER_MINUTE: 1})
    other, read, write = make_key("acme", *ANY), "/v1/webhooks", "/v1/redeliveries"
    order = {"filter": {}, "dry_run": True}
    assert [api.call("GET", read, token=token).status_code for token in (key, other)] == [200, 200]
    refused(api.call("GET", read, token=other), Quota.READS_PER_MINUTE, "2")
    assert api.call("POST", write, order, token=other).status_code == 200
    refused(api.call("POST", write, order, token=key), Quota.WRITES_PER_MINUTE, "1")
    for _ in range(3):
        assert api.call("GET", f"{read}?account=acme", token=operator).status_code == 200
    assert api.call("GET", read, token=make_key("globex", *ANY)).status_code == 200


def test_whatever_an_account_reads_counts_as_a_read(api: Api, key: str, database: Engine) -> None:
    paths = [
        path
        for path, operations in DOCUMENT["paths"].items()
        if {"Bearer": ["read"]} in operations.get("get", {}).get("security", ())
    ]
    limit(database, {Quota.READS_PER_MINUTE: 1})
    assert api.call("GET", "/v1/webhooks", token=key).status_code == 200
    assert {"/v1/series", "/v1/webhooks/{webhook_id}/series"} < set(paths)
    for path in paths:
        answer = api.call("GET", re.sub("{[a-z_]+}", str(UUID(int=7)), path), token=key)
        refused(answer, Quota.READS_PER_MINUTE, "1")


def test_url_verifications_are_counted_when_one_is_made(
    api: Api, key: str, operator: str, database: Engine, receiver: Receiver
) -> None:
    limit(database, {Quota.URL_VERIFICATIONS_PER_HOUR: 1})
    new = {"url": receiver.url("/hook"), "event_types": ["message"], "contract": {"envelope": "array"}}
    made = api.call("POST", "/v1/webhooks", new, token=key)
    assert made.status_code == 201
    for method, path, body in (
        ("POST", "/v1/webhooks", new),
        ("PATCH", f"/v1/webhooks/{made.json()['id']}", {"url": receiver.url("/other")}),
        ("POST", f"/v1/webhooks/{made.json()['id']}/enable", None),
    ):
        refused(api.call(method, path, body, token=key), Quota.URL_VERIFICATIONS_PER_HOUR, "1")
    assert len(receiver.received) == 1
    assert api.call("POST", "/v1/webhooks", {**new, "enabled": False}, token=key).status_code == 201
    assert api.call("POST", "/v1/webhooks", {**new, "account": "acme"}, token=operator).status_code == 201


def test_an_account_that_is_full_makes_no_url_verification(
    api: Api, key: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url="https://example.com/")
    limit(database, {Quota.WEBHOOKS: 1})
    new = {"url": receiver.url("/hook"), "event_types": ["message"], "contract": {"envelope": "array"}}
    assert api.call("POST", "/v1/webhooks", new, token=key).status_code == 409
    assert receiver.received == []


def test_test_events_are_counted_and_take_what_is_stored(
    api: Api, key: str, operator: str, database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    limit(database, {Quota.TEST_EVENTS_PER_MINUTE: 1})
    assert api.call("POST", f"/v1/webhooks/{webhook.id}/test", token=key).status_code == 202
    refused(api.call("POST", f"/v1/webhooks/{webhook.id}/test", token=key), Quota.TEST_EVENTS_PER_MINUTE, "1")
    change(database, "UPDATE dispatcher.accounts SET stored_bytes = 1")
    api.call("PUT", "/v1/accounts/acme/limits", {"stored_bytes": 1}, token=operator)
    refused(api.call("POST", f"/v1/webhooks/{webhook.id}/test", token=key), Quota.STORED_BYTES, "1")


def test_who_has_stored_as_much_as_it_may_sends_nothing_again_either(
    api: Api, key: str, database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    event = api.post_event(EVENT, token=key).json()["event_id"]
    change(database, "UPDATE dispatcher.webhooks SET dialect = 'flexengage'")
    change(database, "UPDATE dispatcher.deliveries SET state = 'delivered'")
    (delivery,) = rows(database, "SELECT id FROM dispatcher.deliveries")
    again: list[tuple[str, Any]] = [
        ("/v1/redeliveries", {"filter": {"states": ["delivered"]}}),
        (f"/v1/deliveries/{delivery.id}/redeliver", None),
        (f"/flexengage/v1/acme/webhooks/{webhook.id}/events/{event}/retry", None),
        (f"/v1/events/{event}/deliveries", {"webhook": str(webhook.id)}),
        (f"/v1/webhooks/{webhook.id}/replay", {"since": "2026-01-01T00:00:00Z"}),
    ]
    limit(database, {Quota.STORED_BYTES: 1})
    change(database, "UPDATE dispatcher.accounts SET stored_bytes = 1")
    for path, body in again:
        answer = api.call("POST", path, body, token=key)
        assert answer.status_code == 429, path
        assert "its limit `stored_bytes`" in answer.text
    assert api.call("POST", "/v1/redeliveries", {"filter": {}, "dry_run": True}, token=key).status_code == 200
    change(database, "UPDATE dispatcher.accounts SET stored_bytes = 0")
    assert [api.call("POST", path, body, token=key).status_code for path, body in again] == [202, 202, 202, 200, 202]


def test_with_the_broker_away_nobody_is_refused_and_rates_are_not_known(
    api: Api,
    key: str,
    database: Engine,
    monkeypatch: pytest.MonkeyPatch,
    restarted: Restarted,
) -> None:
    limit(database, {Quota.EVENTS_PER_DAY: 1, Quota.READS_PER_MINUTE: 1})
    monkeypatch.setenv("BROKER_URL", f"redis://127.0.0.1:{refusing_port()}/0")
    restarted()
    assert [api.post_event(EVENT, token=key).status_code for _ in range(3)] == [202] * 3
    uses = told(api, key)
    assert {uses[rate]["used"] for rate in RATES} == {None}


def test_a_batch_that_is_refused_as_a_whole_counts_by_its_size(api: Api, key: str) -> None:
    body = b'{"events": [' + b'{"type": "a", "data": 1}, ' * 100 + b" " * 80_000 + b"}"
    assert api.call("POST", "/v1/events/batch", body, token=key).status_code == 400
    assert told(api, key)["events_per_day"]["used"] == len(body) // 8192


def test_a_batch_above_a_limit_is_refused_before_it_is_read(
    api: Api, key: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(database, {Quota.EVENTS_PER_DAY: 1})
    assert api.post_event(EVENT, token=key).status_code == 202
    monkeypatch.setattr("dispatcher.api.events.routes.read_events", None)
    refused(api.call("POST", "/v1/events/batch", {"events": [EVENT]}, token=key), Quota.EVENTS_PER_DAY, "1")
