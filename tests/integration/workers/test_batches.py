import json
import threading
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import Event, enqueue, enqueue_many
from dispatcher.errors import InvalidWebhook
from dispatcher.settings import Settings
from tests.behaviours import Answer, Received, final
from tests.factories import (
    MESSAGE,
    RECEIVED,
    attempts,
    change,
    deliver_all,
    deliveries,
    make_due,
    make_webhook,
    rows,
    sweep_once,
)
from tests.receiver import Receiver
from workers.claims.claims import Claimer
from workers.claims.concurrency import Rooms
from workers.claims.webhook_limit import FIRST_LIMIT


def store(count: int, **fields: Any) -> None:
    """Events whose message is their place."""
    list(enqueue_many(Event(type=RECEIVED, data={"n": n}, account="acme", **fields) for n in range(count)))


def places(callback: Received) -> list[int]:
    return [message["n"] for message in json.loads(callback.body)]


def rejecting(*poison: int) -> Any:
    """A receiver that answers 422 to whatever holds one of these messages."""
    return lambda callback: Answer(422 if set(poison) & set(places(callback)) else 200)


def test_what_is_due_together_shares_a_request_oldest_first(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10})
    store(25)
    assert deliver_all(settings) == {"claimed": 25, "delivered": 25, "retried": 0, "discarded": 0}
    assert sorted(len(places(callback)) for callback in receiver.received) == [5, 10, 10]
    assert all(places(callback) == sorted(places(callback)) for callback in receiver.received)
    assert sorted(n for callback in receiver.received for n in places(callback)) == list(range(25))
    full = next(callback for callback in receiver.received if len(places(callback)) == 10)
    assert full.header("Dispatcher-Batch-Size") == "10"
    assert full.header("Dispatcher-Event-Id") is None


def test_each_delivery_has_its_own_attempt_and_the_answer_is_kept_once(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10})
    store(10)
    deliver_all(settings)
    (request,) = rows(database, "SELECT * FROM dispatcher.requests")
    assert receiver.received[0].header("Dispatcher-Request-Id") == str(request.id)
    found = attempts(database)
    assert len({row.delivery_id for row in found}) == 10
    assert {(row.number, row.request_id, row.verdict) for row in found} == {(1, request.id, "acknowledged")}


@pytest.mark.parametrize(("status", "verdict"), [(200, "acknowledged"), (404, "rejected"), (503, "temporary")])
def test_a_request_says_how_many_messages_it_carried_and_how_it_was_judged(
    database: Engine, settings: Settings, receiver: Receiver, status: int, verdict: str
) -> None:
    receiver.script("/hook", Answer(status))
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 3})
    store(7)
    deliver_all(settings)
    carried = {callback.header("Dispatcher-Request-Id"): len(places(callback)) for callback in receiver.received}
    assert max(carried.values()) == 3
    kept = rows(database, "SELECT id, verdict, messages, replaces FROM dispatcher.requests")
    assert {str(row.id): row.messages for row in kept} == carried
    assert {(row.verdict, row.replaces) for row in kept} == {(verdict, None)}


def test_by_default_a_request_carries_one_message(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    store(3)
    deliver_all(settings)
    assert [len(places(callback)) for callback in receiver.received] == [1, 1, 1]


def test_messages_of_two_apps_do_not_meet_in_a_request(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 100})
    for app in ("one", "other", "one", "other"):
        enqueue(RECEIVED, {"app": app}, account="acme", app=app)
    deliver_all(settings)
    for callback in receiver.received:
        assert len({message["app"] for message in json.loads(callback.body)}) == 1
    assert {row.state for row in deliveries(database)} == {"delivered"}


def test_a_rejected_batch_is_split_until_the_one_message_is_found(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", rejecting(37))
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 100})
    store(100)
    assert deliver_all(settings)["discarded"] == 1
    ends = rows(
        database,
        "SELECT d.state, d.reason, convert_from(e.data, 'UTF8') AS data FROM dispatcher.deliveries d"
        " JOIN dispatcher.events e ON e.id = d.event_id WHERE d.state <> 'delivered'",
    )
    assert [tuple(row) for row in ends] == [("discarded", "rejected", '{"n":37}')]
    assert len(receiver.received) <= 1 + 2 * 7  # two for each halving of 100
    sent = [n for callback in receiver.received for n in places(callback)]
    assert all(sent.count(n) <= 8 for n in range(100))
    counts = rows(
        database, "SELECT delivery_id, array_agg(number ORDER BY number) AS n FROM dispatcher.attempts GROUP BY 1"
    )
    assert all(row.n == list(range(1, len(row.n) + 1)) for row in counts)


def test_several_bad_messages_are_all_found_and_nothing_else_is_lost(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", rejecting(0, 7, 8))
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 16})
    store(20)
    assert deliver_all(settings) == {"claimed": len(attempts(database)), "delivered": 17, "retried": 0, "discarded": 3}


def test_a_batch_that_fails_temporarily_is_retried_by_schedule_together(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", Answer(503), Answer(200))
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10})
    store(10)
    assert deliver_all(settings)["retried"] == 10
    assert {(row.state, row.schedule_step) for row in deliveries(database)} == {("waiting", 1)}
    make_due(database)
    sweep_once(settings)
    deliver_all(settings)
    assert [len(places(callback)) for callback in receiver.received] == [10, 10]


def test_where_the_contract_says_so_those_of_a_failed_batch_are_retried_alone(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", Answer(503), Answer(200))
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10, "retry_alone": True})
    store(10)
    deliver_all(settings)
    make_due(database)
    sweep_once(settings)
    store(10)
    deliver_all(settings)
    assert sorted(len(places(callback)) for callback in receiver.received) == [*[1] * 10, 10, 10]
    assert {row.state for row in deliveries(database)} == {"delivered"}


def test_those_of_a_rejected_batch_go_alone_at_once_where_the_contract_says_so(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", rejecting(3))
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10, "retry_alone": True})
    store(10)
    deliver_all(settings)
    assert [len(places(callback)) for callback in receiver.received] == [10, *[1] * 10]
    assert [row.state for row in deliveries(database)].count("delivered") == 9


@pytest.mark.parametrize(
    "contract",
    [
        {"batch_size": 0},
        {"batch_size": 101},
        {"batch_size": 10, "envelope": "object"},
        {"batch_size": 10, "method": "GET"},
    ],
)
def test_a_batch_needs_an_array_and_a_size_from_1_to_100(
    database: Engine, settings: Settings, contract: dict[str, Any]
) -> None:
    with pytest.raises(InvalidWebhook, match="batch_size"):
        make_webhook(database, settings, url="http://127.0.0.1:9/", contract=contract)


def test_expired_messages_are_left_out_of_a_batch(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10})
    store(3)
    with database.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE dispatcher.events SET expires_at = now() WHERE convert_from(data, 'UTF8') = '{\"n\":1}'"
        )
        connection.exec_driver_sql("UPDATE dispatcher.deliveries SET give_up_at = created_at")
    deliver_all(settings)
    assert [places(callback) for callback in receiver.received] == [[0, 2]]
    assert sorted((row.state, row.reason) for row in deliveries(database) if row.reason) == [("discarded", "expired")]


def test_a_single_message_of_a_batching_webhook_has_the_headers_of_one(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10})
    accepted = enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    assert receiver.received[0].header("Dispatcher-Event-Id") == str(accepted.event_id)


def test_a_claim_counts_the_requests_that_small_batches_take(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/", contract={"batch_size": 10})
    store(40)
    change(database, "UPDATE dispatcher.deliveries SET schedule_step = 1, batch_limit = 1")
    with database.begin() as connection:
        assert len(Claimer().claim(connection, Rooms(), 100).claims) == FIRST_LIMIT


@pytest.mark.parametrize("cut_by", ["a batch that failed", "apps"])
def test_a_webhook_whose_batches_are_cut_small_has_no_more_in_flight_than_its_window(
    database: Engine, settings: Settings, receiver: Receiver, cut_by: str
) -> None:
    hold = receiver.gate()
    receiver.script("/hang", (hold, final(200)))
    make_webhook(database, settings, url=receiver.url("/hang"), event_types=["cut"], contract={"batch_size": 10})
    make_webhook(database, settings, url=receiver.url("/quick"), event_types=["quick"])
    list(enqueue_many(Event(type="cut", data={"n": n}, account="acme", app=f"app-{n}") for n in range(30)))
    if cut_by == "a batch that failed":
        change(database, "UPDATE dispatcher.events SET app = NULL")
        change(database, "UPDATE dispatcher.deliveries SET schedule_step = 1, batch_limit = 1")
    loop = threading.Thread(target=deliver_all, args=(settings.model_copy(update={"max_in_flight": 16}),))
    loop.start()
    try:
        receiver.wait_for(FIRST_LIMIT, path="/hang")
        for n in range(1, 11):  # the loop goes on claiming
            enqueue("quick", MESSAGE, account="acme")
            receiver.wait_for(n, path="/quick")
        assert len(receiver.at("/hang")) == FIRST_LIMIT
    finally:
        hold.open()
        loop.join(30)
    assert {row.state for row in deliveries(database)} == {"delivered"}
    assert {row.attempt_count for row in deliveries(database)} == {1}
