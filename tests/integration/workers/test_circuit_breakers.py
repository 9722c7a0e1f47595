import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Row
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.db.models import Webhook
from dispatcher.deliveries.redelivery import redeliver
from dispatcher.settings import Settings
from schedules.timing import REAL_TIME
from tests.behaviours import Answer
from tests.factories import (
    MESSAGE,
    RECEIVED,
    TESTER,
    change,
    change_webhook,
    deliver_all,
    deliveries,
    make_webhook,
    rows,
    sweep_once,
    upkeep_once,
)
from tests.receiver import Receiver
from workers.claims.claims import CLAIM, Claim, Claimer
from workers.claims.concurrency import Rooms
from workers.loop import DeliveryLoop

DOWN, UP = Answer(503), Answer(200)


def store(count: int) -> None:
    for _ in range(count):
        enqueue(RECEIVED, MESSAGE, account="acme")


def breaker(database: Engine) -> Row[Any] | None:
    found = rows(database, "SELECT *, now() AS now FROM dispatcher.circuit_breakers")
    return found[0] if found else None


def states(database: Engine) -> list[str]:
    return sorted(row.state for row in deliveries(database))


def open_circuit(database: Engine, settings: Settings, receiver: Receiver, **contract: Any) -> Webhook:
    """A webhook whose breaker has just closed, with five deliveries that wait for their retries."""
    receiver.script("/hook", DOWN)
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), contract=contract)
    store(4)
    deliver_all(settings)
    change(database, "UPDATE dispatcher.circuit_breakers SET failing_since = failing_since - interval '1 minute'")
    store(1)
    deliver_all(settings)
    return webhook


def let_trial(database: Engine) -> None:
    change(database, "UPDATE dispatcher.circuit_breakers SET trial_at = now()")


def test_five_failures_in_a_row_over_a_minute_open_the_circuit(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", DOWN)
    make_webhook(database, settings, url=receiver.url("/hook"))
    store(10)
    deliver_all(settings)
    found = breaker(database)
    assert found is not None
    assert (found.failures, found.opened_at) == (10, None)
    change(database, "UPDATE dispatcher.circuit_breakers SET failing_since = failing_since - interval '1 minute'")
    store(1)
    deliver_all(settings)
    found = breaker(database)
    assert found is not None
    assert (found.failures, found.opened_at is not None) == (11, True)
    assert found.trial_at - found.opened_at == timedelta(seconds=90)


def test_a_success_or_a_rejection_between_ends_the_row(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    for sign_of_life in (UP, Answer(404)):
        receiver.script("/hook", DOWN)
        webhook = make_webhook(database, settings, url=receiver.url("/hook"))
        store(4)
        deliver_all(settings)
        receiver.script("/hook", sign_of_life)
        store(1)
        deliver_all(settings)
        assert breaker(database) is None
        change_webhook(database, settings, webhook, "delete")


def test_new_events_of_an_open_circuit_are_stored_and_not_attempted(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    open_circuit(database, settings, receiver)
    before = len(receiver.received)
    store(3)
    assert deliver_all(settings)["claimed"] == 0
    assert len(receiver.received) == before
    assert states(database) == ["ready"] * 3 + ["waiting"] * 5


def test_other_webhooks_do_not_notice(database: Engine, settings: Settings, receiver: Receiver) -> None:
    open_circuit(database, settings, receiver)
    make_webhook(database, settings, url=receiver.url("/other"))
    store(5)
    assert deliver_all(settings)["delivered"] == 5
    assert len(receiver.at("/other")) == 5


def test_one_trial_at_a_time_takes_another_delivery_each_time_oldest_first(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    open_circuit(database, settings, receiver)
    change(database, "DELETE FROM dispatcher.deliveries")
    receiver.script("/hook", DOWN)
    store(4)
    # Not by their ids, which know milliseconds only.
    oldest_first = [str(row.id) for row in sorted(deliveries(database), key=attrgetter("due_at"))]
    before, waits = len(receiver.received), []
    for _ in range(4):
        let_trial(database)
        assert deliver_all(settings)["claimed"] == 1
        found = breaker(database)
        assert found is not None
        waits.append(round((found.trial_at - found.now).total_seconds(), -1))
    assert [callback.header("Dispatcher-Delivery-Id") for callback in receiver.received[before:]] == oldest_first
    assert waits == [180, 360, 720, 900]


@pytest.mark.parametrize("longest", ["first attempt", "retry"])
def test_a_trial_is_what_is_due_longest_be_it_a_first_attempt_or_a_retry(
    database: Engine, settings: Settings, longest: str
) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    store(4)
    first, retry, newer_first, newer_retry = (row.id for row in deliveries(database))
    for seconds, identifier, is_retry in (
        (3 if longest == "first attempt" else 2, first, False),
        (3 if longest == "retry" else 2, retry, True),
        (1, newer_first, False),
        (1, newer_retry, True),
    ):
        change(
            database,
            "UPDATE dispatcher.deliveries SET due_at = now() - :since, schedule_step = :step WHERE id = :id",
            since=timedelta(seconds=seconds),
            step=int(is_retry),
            id=identifier,
        )
    open_circuits(database, webhook)
    with database.begin() as connection:
        (claim,) = Claimer().claim_passing(connection, Rooms(), 10)
    assert (claim.delivery_id, claim.trial) == (str(first if longest == "first attempt" else retry), True)


def test_two_loops_make_one_trial(database: Engine, settings: Settings, receiver: Receiver) -> None:
    open_circuit(database, settings, receiver)
    store(5)
    let_trial(database)
    before = len(receiver.received)
    loops = [threading.Thread(target=deliver_all, args=(settings,)) for _ in range(4)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(30)
    assert len(receiver.received) == before + 1


def test_the_first_success_closes_the_circuit_and_all_that_waits_is_delivered(
    database: Engine, settings: Settings, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    open_circuit(database, settings, receiver)
    store(200)
    receiver.script("/hook", UP)
    let_trial(database)
    assert deliver_all(settings)["delivered"] == 200
    assert breaker(database) is None
    told = capsys.readouterr().out
    assert "circuit opened" in told
    assert "circuit closed" in told


def test_one_poison_message_cannot_hold_the_circuit_open(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    open_circuit(database, settings, receiver)
    change(database, "DELETE FROM dispatcher.deliveries")
    store(3)
    poison = str(deliveries(database)[0].id)
    receiver.script("/hook", lambda seen: DOWN if seen.header("Dispatcher-Delivery-Id") == poison else UP)
    let_trial(database)
    assert deliver_all(settings) == {"claimed": 1, "delivered": 0, "retried": 1, "discarded": 0}
    let_trial(database)
    assert deliver_all(settings)["delivered"] == 2


def test_a_persons_redelivery_passes_an_open_circuit_once(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    open_circuit(database, settings, receiver)
    (chosen, *_) = deliveries(database)
    change(database, "UPDATE dispatcher.deliveries SET state = 'cancelled'")
    store(2)
    with Session(database) as session, session.begin():
        redeliver(session, find_account(session, "acme"), chosen.id, REAL_TIME, by=TESTER)
    before = breaker(database)
    assert deliver_all(settings) == {"claimed": 1, "delivered": 0, "retried": 1, "discarded": 0}
    after = breaker(database)
    assert before is not None
    assert after is not None
    assert (after.opened_at, after.trial_at) == (before.opened_at, before.trial_at)
    change(database, "UPDATE dispatcher.deliveries SET due_at = now() WHERE state = 'waiting'")
    sweep_once(settings)
    assert deliver_all(settings)["claimed"] == 0  # its retry waits like all others


def test_waiting_deliveries_end_when_their_time_is_over(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    open_circuit(database, settings, receiver)
    store(2)
    change(database, "UPDATE dispatcher.deliveries SET give_up_at = now() WHERE state = 'ready'")
    store(1)
    assert upkeep_once(settings)["ended"] == 2
    assert sorted((row.state, row.reason) for row in deliveries(database) if row.state != "waiting") == [
        ("discarded", "exhausted"),
        ("discarded", "exhausted"),
        ("ready", None),
    ]


@pytest.mark.parametrize(
    ("call", "arguments"), [("update", {"url": "http://127.0.0.1:9/new"}), ("update", {"contract": {}}), ("enable", {})]
)
def test_a_new_url_a_new_contract_or_enabling_opens_it(
    database: Engine, settings: Settings, receiver: Receiver, call: str, arguments: dict[str, Any]
) -> None:
    webhook = open_circuit(database, settings, receiver)
    change_webhook(database, settings, webhook, call, **arguments)
    assert breaker(database) is None


def test_a_new_contact_does_not_open_it(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = open_circuit(database, settings, receiver)
    change_webhook(database, settings, webhook, "update", contact_email="ops@example.com")
    assert breaker(database) is not None


def test_without_a_circuit_breaker_each_delivery_keeps_to_its_own_schedule(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    open_circuit(database, settings, receiver, circuit_breaker=False)
    assert breaker(database) is None
    store(3)
    assert deliver_all(settings)["retried"] == 3


def test_with_circuit_breakers_off_for_all_an_open_one_holds_nothing_back(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    open_circuit(database, settings, receiver)
    store(3)
    off = settings.model_copy(update={"circuit_breaker_failures": 0})
    assert deliver_all(off)["retried"] == 3


def test_a_trial_whose_worker_died_is_made_again(database: Engine, settings: Settings, receiver: Receiver) -> None:
    open_circuit(database, settings, receiver)
    store(1)
    let_trial(database)
    with database.begin() as connection:
        (claim,) = Claimer().claim_passing(connection, Rooms(), 10)
        assert claim.trial
        assert Claimer().claim_passing(connection, Rooms(), 10) == []
    found = breaker(database)
    assert found is not None
    assert timedelta(0) < found.trial_at - datetime.now(UTC) <= CLAIM + timedelta(seconds=1)


def test_batches_count_as_one_failure_each(database: Engine, settings: Settings, receiver: Receiver) -> None:
    receiver.script("/hook", DOWN)
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 100})
    store(50)
    deliver_all(settings)
    found = breaker(database)
    assert found is not None
    assert found.failures == len(receiver.received) < 50


def open_circuits(database: Engine, *webhooks: Webhook) -> None:
    """Opens them, with trials that are due, in this order."""
    for place, webhook in enumerate(webhooks):
        change(
            database,
            "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trials, trial_at)"
            " VALUES (:id, 5, now(), now(), 1, now() - interval '1 hour' + :place * interval '1 second')",
            id=webhook.id,
            place=place,
        )


def passing(database: Engine, limit: int) -> list[str]:
    """The webhooks of what passes now."""
    with database.begin() as connection:
        return [claim.webhook_id for claim in Claimer().claim_passing(connection, Rooms(), limit)]


def test_circuits_behind_which_nothing_waits_do_not_keep_others_from_their_trials(
    database: Engine, settings: Settings
) -> None:
    idle = [make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["idle"]) for _ in range(5)]
    disabled = make_webhook(database, settings, url="http://127.0.0.1:9/")
    later = make_webhook(database, settings, url="http://127.0.0.1:9/")
    waiting = make_webhook(database, settings, url="http://127.0.0.1:9/")
    store(1)
    change(
        database,
        "UPDATE dispatcher.deliveries SET due_at = now() + interval '1 minute' WHERE webhook_id = :id",
        id=later.id,
    )
    change_webhook(database, settings, disabled, "disable")
    open_circuits(database, *idle, disabled, later, waiting)
    assert passing(database, 1) == [str(waiting.id)]


def test_many_redeliveries_to_one_closed_webhook_leave_room_for_anothers(database: Engine, settings: Settings) -> None:
    many = make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["many"])
    one = make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["one"])
    for _ in range(5):
        enqueue("many", MESSAGE, account="acme")
    enqueue("one", MESSAGE, account="acme")
    open_circuits(database, many, one)
    change(database, "UPDATE dispatcher.circuit_breakers SET trial_at = now() + interval '1 hour'")
    change(database, "UPDATE dispatcher.deliveries SET bypasses_circuit = true")
    assert sorted(passing(database, 3)) == sorted([str(many.id), str(one.id)])


def test_a_trial_and_a_redelivery_do_not_take_more_than_there_is_room_for(database: Engine, settings: Settings) -> None:
    tried = make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["tried"])
    asked = make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["asked"])
    enqueue("tried", MESSAGE, account="acme")
    enqueue("asked", MESSAGE, account="acme")
    open_circuits(database, tried, asked)
    change(
        database,
        "UPDATE dispatcher.circuit_breakers SET trial_at = now() + interval '1 hour' WHERE webhook_id = :id",
        id=asked.id,
    )
    change(database, "UPDATE dispatcher.deliveries SET bypasses_circuit = true WHERE webhook_id = :id", id=asked.id)
    taken = [passing(database, 1) for _ in range(3)]
    assert sorted(taken) == sorted([[str(tried.id)], [str(asked.id)], []])


def test_with_one_free_slot_a_trial_and_a_redelivery_are_made_and_the_others_are_served(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/hook", DOWN)
    tried, asked = (make_webhook(database, settings, url=receiver.url("/hook")) for _ in range(2))
    store(1)
    open_circuits(database, tried, asked)
    change(
        database,
        "UPDATE dispatcher.circuit_breakers SET trial_at = now() + interval '1 hour' WHERE webhook_id = :id",
        id=asked.id,
    )
    change(database, "UPDATE dispatcher.deliveries SET bypasses_circuit = true WHERE webhook_id = :id", id=asked.id)
    make_webhook(database, settings, url=receiver.url("/healthy"), event_types=["healthy"])
    enqueue("healthy", MESSAGE, account="acme")
    one_slot = settings.model_copy(update={"max_in_flight": 1})
    assert deliver_all(one_slot) == {"claimed": 3, "delivered": 1, "retried": 2, "discarded": 0}
    assert sorted(callback.path for callback in receiver.received) == ["/healthy", "/hook", "/hook"]


def test_two_claims_at_the_same_moment_make_one_trial_and_neither_waits(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    store(2)
    open_circuits(database, webhook)
    with ThreadPoolExecutor(1) as pool, database.begin() as connection:
        assert len(Claimer().claim_passing(connection, Rooms(), 10)) == 1
        assert pool.submit(passing, database, 10).result(20) == []


def test_a_trial_is_not_made_before_its_time(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    store(1)
    open_circuits(database, webhook)
    change(database, "UPDATE dispatcher.circuit_breakers SET trial_at = now() + interval '1 minute'")
    assert passing(database, 10) == []
    let_trial(database)
    assert passing(database, 10) == [str(webhook.id)]


@pytest.mark.parametrize("asked_for", [False, True])
def test_what_is_not_due_yet_does_not_pass_an_open_circuit(
    database: Engine, settings: Settings, asked_for: bool
) -> None:
    open_circuits(database, make_webhook(database, settings, url="http://127.0.0.1:9/"))
    store(1)
    change(
        database,
        "UPDATE dispatcher.deliveries SET bypasses_circuit = :asked_for, due_at = now() + interval '1 minute'",
        asked_for=asked_for,
    )
    before = breaker(database)
    assert before is not None
    assert passing(database, 10) == []
    after = breaker(database)
    assert after is not None
    assert after.trial_at == before.trial_at  # so the trial is made once there is something


def test_of_redeliveries_that_pass_an_open_circuit_the_one_asked_for_first_goes_first(
    database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    store(3)
    open_circuits(database, webhook)
    change(database, "UPDATE dispatcher.circuit_breakers SET trial_at = now() + interval '1 hour'")
    second, first, third = (row.id for row in deliveries(database))
    for minutes, identifier in ((3, first), (2, second), (1, third)):
        change(
            database,
            "UPDATE dispatcher.deliveries SET bypasses_circuit = true, due_at = now() - :since WHERE id = :id",
            since=timedelta(minutes=minutes),
            id=identifier,
        )
    with database.begin() as connection:
        taken = [claim.delivery_id for _ in range(3) for claim in Claimer().claim_passing(connection, Rooms(), 10)]
    assert taken == [str(first), str(second), str(third)]


@pytest.mark.parametrize("kind", ["trials", "redeliveries"])
def test_what_passes_an_open_circuit_keeps_the_webhooks_rate(database: Engine, settings: Settings, kind: str) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/", contract={"rate_limit": 0.1})
    store(3)
    open_circuits(database, webhook)
    if kind == "redeliveries":
        change(database, "UPDATE dispatcher.deliveries SET bypasses_circuit = true")
    taken = []
    for _ in range(2):
        change(database, "UPDATE dispatcher.rates SET used_until = now() - interval '1 second'")
        for _ in range(2):
            change(
                database,
                "UPDATE dispatcher.circuit_breakers SET trial_at = now() + :wait",
                wait=timedelta(hours=1 if kind == "redeliveries" else 0),
            )
            taken.append(len(passing(database, 10)))
    assert taken == [1, 0, 1, 0]


def test_trials_leave_slots_to_webhooks_that_answer(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.script("/hook", DOWN)
    webhooks = [make_webhook(database, settings, url=receiver.url("/hook")) for _ in range(8)]
    store(1)
    open_circuits(database, *webhooks)
    limits = []

    class Watched(Claimer):
        def claim_passing(self, connection: Connection, rooms: Rooms, limit: int) -> Sequence[Claim]:
            limits.append(limit)
            return super().claim_passing(connection, rooms, limit)

    monkeypatch.setattr("workers.loop.Claimer", Watched)
    deliver_all(settings.model_copy(update={"max_in_flight": 8}))
    assert limits[0] == 4  # what failing webhooks may have of 8


def test_a_trial_that_was_not_sent_is_due_again_at_once(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    store(1)
    open_circuits(database, webhook)
    monkeypatch.setattr("workers.loop.DeliveryLoop._send", stop_before_sending(monkeypatch))
    assert deliver_all(settings)["claimed"] == 1
    found = breaker(database)
    assert found is not None
    assert found.trial_at <= found.now
    assert [(row.state, row.attempt_count) for row in deliveries(database)] == [("ready", 0)]
    assert receiver.received == []


def stop_before_sending(monkeypatch: pytest.MonkeyPatch) -> Callable[[DeliveryLoop], None]:
    """`_send` of a loop whose worker is stopped once it has claimed something."""
    send = DeliveryLoop._send

    def stopped(loop: DeliveryLoop) -> None:
        if loop._unsent:
            monkeypatch.setattr("workers.loop.is_stopping", lambda: True)
        send(loop)

    return stopped


def test_a_circuit_left_open_ends_nothing_once_circuit_breakers_are_off(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    open_circuit(database, settings, receiver)
    change(database, "UPDATE dispatcher.deliveries SET state = 'ready', give_up_at = now() - interval '1 second'")
    upkeep_once(settings.model_copy(update={"circuit_breaker_failures": 0}))
    assert breaker(database) is None
    assert states(database) == ["ready"] * 5


def test_deleting_a_webhook_forgets_its_circuit(database: Engine, settings: Settings, receiver: Receiver) -> None:
    webhook = open_circuit(database, settings, receiver)
    change_webhook(database, settings, webhook, "delete")
    assert breaker(database) is None
