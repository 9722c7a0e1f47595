"""Bulk redeliveries: what they take, at which pace, and that whatever happens nothing is redelivered twice."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.db.models import BulkRedelivery
from dispatcher.deliveries import selection as selecting
from dispatcher.deliveries.bulk_redelivery import cancel, count, get, order, skipped
from dispatcher.deliveries.redelivery import redeliver
from dispatcher.deliveries.selection import Selection
from dispatcher.errors import Conflict, InvalidRedelivery, NotFound, WrongState
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.settings.quotas import DEFAULTS, Quota
from dispatcher.states import CLOSED, Reason, State
from schedules.catalog import DEFAULT
from schedules.timing import REAL_TIME
from tests.factories import (
    TESTER,
    change,
    change_webhook,
    deliver_all,
    deliveries,
    make_account,
    make_webhook,
    redeliver_more,
    rows,
)
from tests.many_rows import make_many, reading_less_than
from tests.receiver import Receiver
from workers.maintenance import redeliver as doing


def discarded(
    database: Engine, number: int, event_type: str = "message.sent", account: str = "acme", **columns: Any
) -> list[UUID]:
    """So many new deliveries of the account to each webhook, all discarded as rejected; or as `columns` say."""
    known = {delivery.id for delivery in deliveries(database)}
    for _ in range(number):
        enqueue(event_type, 1, account=account)
    new = [delivery.id for delivery in deliveries(database) if delivery.id not in known]
    values = {"state": "discarded", "reason": "rejected", "attempt_count": 3, "schedule_step": 2, **columns}
    sets = ", ".join(f"{name} = :{name}" for name in values)
    change(
        database,
        f"UPDATE dispatcher.deliveries SET {sets}, finished_at = now() WHERE id = ANY(CAST(:ids AS uuid[]))",
        ids=new,
        **values,
    )
    return new


def ordered(database: Engine, account: str = "acme", per_second: int = 1000, **selection: Any) -> UUID:
    with Session(database) as session, session.begin():
        made = order(session, find_account(session, account), Selection(**selection), by=TESTER, per_second=per_second)
        return made.id


def counted(database: Engine, account: str = "acme", **selection: Any) -> int:
    with Session(database) as session:
        found = count(session, find_account(session, account), Selection(**selection))
    assert found.is_complete
    return found.matched


def found(database: Engine, identifier: UUID) -> BulkRedelivery:
    with Session(database) as session:
        return get(session, find_account(session, "acme"), identifier)


def pass_time(database: Engine, seconds: float) -> None:
    """As if the last step were so long ago."""
    change(
        database, "UPDATE dispatcher.redeliveries SET used_until = used_until - :gone", gone=timedelta(seconds=seconds)
    )


def run_to_the_end(settings: Settings, database: Engine) -> int:
    """Steps, each a while after the other, until nothing is open. Returns how many were redelivered."""
    done = 0
    for _ in range(50):
        result = redeliver_more(settings)
        done += result["redelivered"]
        if not result["open"]:
            return done
        pass_time(database, 10)
    raise AssertionError("it does not come to an end")


def ready(database: Engine) -> set[UUID]:
    return {delivery.id for delivery in deliveries(database) if delivery.state == "ready"}


@pytest.fixture
def webhook(database: Engine, settings: Settings) -> Any:
    return make_webhook(database, settings, url="https://example.com/")


def test_what_fits_is_opened_again_with_its_schedule_from_the_start(
    database: Engine, settings: Settings, webhook: Any
) -> None:
    wanted = discarded(database, 3)
    delivered = discarded(database, 1, state="delivered", reason=None)
    identifier = ordered(database)
    assert run_to_the_end(settings, database) == 3
    assert ready(database) == set(wanted)
    for delivery in deliveries(database):
        if delivery.id in wanted:
            assert (delivery.schedule_step, delivery.attempt_count, delivery.reason) == (0, 3, None)
            assert delivery.finished_at is None
    assert delivered[0] not in ready(database)
    ended = found(database, identifier)
    assert (ended.matched, ended.redelivered, skipped(ended)) == (3, 3, 0)
    assert ended.finished_at is not None


def test_they_reach_the_receiver(database: Engine, settings: Settings, receiver: Receiver, broker: redis.Redis) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    discarded(database, 5)
    ordered(database)
    broker.flushall()
    redeliver_more(settings)
    assert broker.llen("deliver") == 1
    deliver_all(settings)
    assert [request.header("Dispatcher-Attempt") for request in receiver.received] == ["4"] * 5
    assert {delivery.state for delivery in deliveries(database)} == {"delivered"}


def test_each_filter_takes_its_own(database: Engine, settings: Settings, webhook: Any) -> None:
    other = make_webhook(database, settings, url="https://example.com/other", event_types=["other"])
    rejected = discarded(database, 2)
    exhausted = discarded(database, 1, event_type="message.failed", reason="exhausted")
    delivered = discarded(database, 1, state="delivered", reason=None)
    cancelled = discarded(database, 1, state="cancelled", reason=None)
    both = discarded(database, 1, event_type="other.thing")
    change(database, "UPDATE dispatcher.deliveries SET state = 'waiting' WHERE id = :id", id=rejected[1])
    expected = {
        4: Selection(),
        1: Selection(webhook=other.id),
        3: Selection(webhook=webhook.id),
        2: Selection(event_type="other"),
        0: Selection(event_type="oth"),
        6: Selection(states=list(State)[3:]),
    }
    for number, selection in expected.items():
        with Session(database) as session:
            assert count(session, find_account(session, "acme"), selection)[:2] == (number, None), selection
    assert (
        counted(database, reason=Reason.EXHAUSTED) == counted(database, reason=Reason.EXHAUSTED, states=[*CLOSED]) == 1
    )
    assert counted(database, states=[State.DELIVERED]) == counted(database, states=[State.CANCELLED]) == 1
    assert counted(database, event_type="message", states=[State.DELIVERED]) == 1
    hour = timedelta(hours=1)
    assert counted(database, since=datetime.now(UTC) + hour) == counted(database, until=datetime.now(UTC) - hour) == 0
    assert counted(database, since=datetime.now(UTC) - hour, until=datetime.now(UTC) + hour) == 4
    for selection_, taken in (
        ({"webhook": other.id}, {id_ for id_ in both if id_ in of_webhook(database, other.id)}),
        ({"reason": Reason.EXHAUSTED}, set(exhausted)),
        ({"states": [State.DELIVERED, State.CANCELLED]}, {*delivered, *cancelled}),
        ({"event_type": "message.sent"}, {rejected[0]}),
        ({"until": datetime.now(UTC) - hour}, set()),
    ):
        before = ready(database)
        ordered(database, **selection_)
        run_to_the_end(settings, database)
        assert ready(database) - before == taken, selection_


def of_webhook(database: Engine, webhook_id: UUID) -> set[UUID]:
    return {delivery.id for delivery in deliveries(database) if delivery.webhook_id == webhook_id}


def test_an_open_circuit_holds_a_bulk_redelivery_back(database: Engine, settings: Settings, webhook: Any) -> None:
    discarded(database, 1)
    ordered(database)
    run_to_the_end(settings, database)
    (delivery,) = deliveries(database)
    assert (delivery.state, delivery.bypasses_circuit) == ("ready", False)


def test_the_pace_is_held_over_all_workers(database: Engine, settings: Settings, webhook: Any) -> None:
    discarded(database, 60)
    identifier = ordered(database, per_second=5)
    change(database, "UPDATE dispatcher.redeliveries SET used_until = now() + interval '1 minute'")
    began = found(database, identifier).used_until
    assert redeliver_more(settings)["redelivered"] == 0
    opened = 0
    with ThreadPoolExecutor(4) as pool:
        for seconds in (62, 1, 2):
            pass_time(database, seconds)
            opened += sum(result["redelivered"] for result in pool.map(redeliver_more, [settings] * 8))
    (now,) = rows(database, "SELECT *, now() AS now FROM dispatcher.redeliveries")
    used = now.used_until - (began - timedelta(seconds=65))
    assert opened == now.redelivered == len(ready(database)) == round(used.total_seconds() * 5)
    assert opened >= 25
    assert now.used_until <= now.now


def test_many_workers_at_one_order_are_not_taken_for_workers_that_died(
    database: Engine, settings: Settings, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    discarded(database, 20)
    identifier = ordered(database, per_second=1000)
    step, all_here = doing._step, threading.Event()

    def slow_step(*arguments: Any) -> int:
        assert all_here.wait(20)
        return step(*arguments)

    monkeypatch.setattr(doing, "_step", slow_step)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(redeliver_more, settings)
        while not found(database, identifier).unended_steps:
            time.sleep(0.01)
        others = [redeliver_more(settings)["redelivered"] for _ in range(2 * doing.MOST_UNENDED)]
        all_here.set()
        assert (first.result()["redelivered"], set(others)) == (20, {0})
    assert (found(database, identifier).cancelled_at, found(database, identifier).unended_steps) == (None, 0)


def test_the_first_seconds_worth_goes_at_once(database: Engine, settings: Settings, webhook: Any) -> None:
    discarded(database, 20)
    ordered(database, per_second=10)
    assert redeliver_more(settings)["redelivered"] >= 10


def test_a_step_that_breaks_off_leaves_all_as_it_was_and_the_next_goes_on(
    database: Engine, settings: Settings, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    discarded(database, 30)
    identifier = ordered(database, per_second=10)
    redeliver_more(settings)
    done = len(ready(database))
    pass_time(database, 1)
    with monkeypatch.context() as patched:
        patched.setattr(doing, "used_up", None)  # all is done but the last thing before the commit
        with pytest.raises(TypeError):
            redeliver_more(settings)
    assert len(ready(database)) == found(database, identifier).redelivered == done
    run_to_the_end(settings, database)
    assert len(ready(database)) == found(database, identifier).redelivered == 30


def test_what_is_redelivered_and_ends_again_is_not_taken_again(
    database: Engine, settings: Settings, webhook: Any
) -> None:
    wanted = discarded(database, 4)
    identifier = ordered(database, per_second=2)
    discard_all = "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected', finished_at = now()"
    for _ in range(5):
        redeliver_more(settings)
        change(database, f"{discard_all} WHERE state = 'ready'")
        pass_time(database, 1)
    ended = found(database, identifier)
    assert (ended.redelivered, ended.finished_at is not None) == (4, True)
    assert {delivery.state for delivery in deliveries(database)} == {"discarded"}
    assert len(wanted) == 4


def test_what_closes_after_the_order_is_not_taken(database: Engine, settings: Settings, webhook: Any) -> None:
    early = discarded(database, 2)
    identifier = ordered(database)
    late = discarded(database, 2)
    run_to_the_end(settings, database)
    assert ready(database) == set(early)
    assert not ready(database) & set(late)
    assert found(database, identifier).matched == 2


def test_what_a_person_was_faster_with_is_skipped(database: Engine, settings: Settings, webhook: Any) -> None:
    first, second, third = discarded(database, 3)
    identifier = ordered(database)
    with Session(database) as session, session.begin():
        redeliver(session, find_account(session, "acme"), first, REAL_TIME, by=TESTER)
    change(
        database,
        "DELETE FROM dispatcher.events e USING dispatcher.deliveries d WHERE d.id = :id AND e.id = d.event_id",
        id=second,
    )
    assert run_to_the_end(settings, database) == 1
    assert ready(database) == {first, third}
    ended = found(database, identifier)
    assert (ended.matched, ended.redelivered, skipped(ended)) == (3, 1, 2)
    (by_hand,) = [delivery for delivery in deliveries(database) if delivery.id == first]
    assert by_hand.bypasses_circuit


def test_a_webhook_that_is_deleted_meanwhile_is_left_out(database: Engine, settings: Settings, webhook: Any) -> None:
    other = make_webhook(database, settings, url="https://example.com/other")
    discarded(database, 20)
    identifier = ordered(database, per_second=3)  # at most 15 at once, however long this process stands still
    redeliver_more(settings)
    change_webhook(database, settings, webhook, "delete")
    change_webhook(database, settings, other, "disable")
    run_to_the_end(settings, database)
    ended = found(database, identifier)
    assert {delivery.webhook_id for delivery in deliveries(database) if delivery.state == "discarded"} == {webhook.id}
    assert of_webhook(database, other.id) <= ready(database)
    assert ended.redelivered == len(ready(database))
    assert skipped(ended) == 40 - ended.redelivered


def test_the_walk_goes_from_webhook_to_webhook_in_small_pieces(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doing, "PIECE", 2)
    monkeypatch.setattr(doing, "MAX_LOOKED_AT", 4)
    for number in range(4):
        make_webhook(database, settings, url="https://example.com/", name=str(number), event_types=["message.sent"])
        make_webhook(database, settings, url="https://example.com/", name=f"quiet {number}", event_types=["quiet"])
    discarded(database, 5)
    discarded(database, 3, state="delivered", reason=None)
    kept = discarded(database, 1, reason="exhausted")
    identifier = ordered(database, reason=Reason.REJECTED)
    run_to_the_end(settings, database)
    assert found(database, identifier).redelivered == len(ready(database)) == 20
    assert not ready(database) & set(kept)


def test_a_step_looks_at_no_more_than_so_many_rows(
    database: Engine, settings: Settings, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doing, "PIECE", 2)
    monkeypatch.setattr(doing, "MAX_LOOKED_AT", 4)
    others = sorted(discarded(database, 10, reason="exhausted"))
    identifier = ordered(database, reason=Reason.REJECTED)
    redeliver_more(settings)
    assert found(database, identifier).delivery_reached == others[3]


def test_one_that_another_worker_is_at_is_not_waited_for(database: Engine, settings: Settings, webhook: Any) -> None:
    discarded(database, 3)
    ordered(database)
    with ThreadPoolExecutor(1) as pool, Session(database) as session, session.begin():
        session.scalars(select(BulkRedelivery).with_for_update()).one()
        assert pool.submit(redeliver_more, settings).result(20) == {"redelivered": 0, "open": 1}


def test_of_many_orders_each_has_its_step_in_one_of_the_next_runs(
    database: Engine, settings: Settings, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    discarded(database, 20)
    identifiers = [ordered(database, per_second=1) for _ in range(3)]
    monkeypatch.setattr(doing, "RUN_SECONDS", 0)
    for run in (1, 2, 3):
        assert redeliver_more(settings)["open"] == 3
        assert sum(found(database, identifier).redelivered > 0 for identifier in identifiers) == run


def test_an_account_with_many_orders_has_no_more_turns_than_another(
    database: Engine, settings: Settings, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url="https://example.com/", account="globex")
    for account in ("acme", "globex"):
        discarded(database, 10, account=account)
    of_many = [ordered(database, per_second=1) for _ in range(3)]
    of_one = ordered(database, "globex", per_second=1)
    monkeypatch.setattr(doing, "RUN_SECONDS", 0)
    stepped, run = list[UUID](), doing._run_alone

    def noted(engine: Engine, identifier: UUID, timing: Any) -> int:
        stepped.append(identifier)
        return run(engine, identifier, timing)

    monkeypatch.setattr(doing, "_run_alone", noted)
    for _ in range(2):
        redeliver_more(settings)
    assert stepped == [of_many[0], of_one]
    monkeypatch.setattr(doing, "RUN_SECONDS", 3)
    redeliver_more(settings)
    assert stepped.index(of_one, 2) == 3, "the second, after one of the other account"
    assert {*stepped[2:]} == {*of_many, of_one}


def test_what_is_opened_has_its_schedule_in_scaled_time(database: Engine, settings: Settings, webhook: Any) -> None:
    discarded(database, 1)
    ordered(database)
    assert redeliver_more(settings.model_copy(update={"time_scale": 0.5}))["redelivered"] == 1
    (row,) = rows(database, "SELECT give_up_at - due_at AS span FROM dispatcher.deliveries")
    assert row.span == DEFAULT.span * 0.5


def test_a_cancelled_one_does_no_more(database: Engine, settings: Settings, webhook: Any) -> None:
    discarded(database, 11)
    identifier = ordered(database, per_second=2)
    redeliver_more(settings)
    done = len(ready(database))
    assert 2 <= done < 11
    with Session(database) as session, session.begin():
        assert cancel(session, find_account(session, "acme"), identifier, by=TESTER).cancelled_at is not None
    pass_time(database, 10)
    assert redeliver_more(settings) == {"redelivered": 0, "open": 0}
    ended = found(database, identifier)
    assert (ended.redelivered, skipped(ended), ended.finished_at) == (done, None, None)
    for account, error in (("acme", WrongState), (make_account(database, "other"), NotFound)):
        with Session(database) as session, pytest.raises(error):
            cancel(session, find_account(session, account), identifier, by=TESTER)


def test_while_one_is_open_the_next_step_is_called_for_within_a_second(
    database: Engine, settings: Settings, webhook: Any, broker: redis.Redis
) -> None:
    discarded(database, 10)
    ordered(database, per_second=2)
    broker.flushall()
    redeliver_more(settings)
    (delayed_wake,) = broker.keys("dispatcher:delayed:dispatcher.redeliver:*")
    assert broker.pttl(delayed_wake) <= 61_000
    change(database, "UPDATE dispatcher.redeliveries SET cancelled_at = now()")
    broker.flushall()
    redeliver_more(settings)
    assert broker.keys("dispatcher:delayed:*") == []


def test_another_accounts_deliveries_and_webhooks_are_out_of_reach(
    database: Engine, settings: Settings, webhook: Any
) -> None:
    theirs = make_webhook(database, settings, url="https://example.com/", account="other")
    enqueue("message.sent", 1, account="other")
    change(database, "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected', finished_at = now()")
    mine = discarded(database, 1)
    assert counted(database) == 1
    with pytest.raises(NotFound):
        ordered(database, webhook=theirs.id)
    with pytest.raises(NotFound):
        counted(database, webhook=new_id())
    ordered(database)
    run_to_the_end(settings, database)
    assert ready(database) == set(mine)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"states": [State.READY]}, "states"),
        ({"states": []}, "states"),
        ({"event_type": "no type"}, "event_type"),
        ({"per_second": 0}, "per_second"),
        ({"per_second": 1001}, "per_second"),
    ],
)
def test_what_makes_no_sense_is_refused(database: Engine, fields: dict[str, Any], field: str) -> None:
    make_account(database)
    with pytest.raises(InvalidRedelivery) as refused:
        ordered(database, **fields)
    assert refused.value.field == field
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []


def test_a_deleted_webhook_cannot_be_named(database: Engine, settings: Settings, webhook: Any) -> None:
    change_webhook(database, settings, webhook, "delete")
    with pytest.raises(NotFound):
        ordered(database, webhook=webhook.id)


def test_an_account_has_so_many_under_way_at_once(database: Engine, settings: Settings, webhook: Any) -> None:
    most = DEFAULTS[Quota.BULK_REDELIVERIES] or 0

    def attempt(_: int) -> bool:
        try:
            ordered(database)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(attempt, range(most + 5))) == most
    run_to_the_end(settings, database)
    assert attempt(0)


def test_the_few_discarded_of_many_are_found_without_reading_the_others(
    database: Engine, settings: Settings, webhook: Any
) -> None:
    make_many(database, webhook.id)
    identifier = ordered(database)
    with Session(database) as session, reading_less_than(100, session, "deliveries"):
        assert doing._step(session, identifier, REAL_TIME) == 4


def test_ordering_looks_at_so_many_and_each_step_counts_as_many_more_before_it_opens_any(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        make_webhook(database, settings, url="https://example.com/", name=str(number), event_types=["message"])
        make_webhook(database, settings, url="https://example.com/", name=f"quiet {number}", event_types=["quiet"])
    discarded(database, 4)
    discarded(database, 1, event_type="message.failed")
    monkeypatch.setattr(selecting, "COUNTED", 6)
    identifier = ordered(database, event_type="message.sent", per_second=1)
    discarded(database, 2)  # what is closed later does not count
    seen = []
    for _ in range(5):
        now = found(database, identifier)
        seen.append((now.matched, now.counting))
        redeliver_more(settings)
    assert [counting for _, counting in seen] == [True, True, True, False, False]
    assert [matched for matched, _ in seen[3:]] == [12, 12]
    assert all(later - before <= 6 for (before, _), (later, _) in pairwise(seen))
    monkeypatch.undo()
    run_to_the_end(settings, database)
    ended = found(database, identifier)
    assert (ended.matched, ended.redelivered, skipped(ended)) == (12, 12, 0)


def test_of_very_many_an_order_reads_no_more_than_it_counts(
    database: Engine, settings: Settings, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_many(database, webhook.id)
    monkeypatch.setattr(selecting, "COUNTED", 1_000)
    for wanted in ({"states": [State.DELIVERED]}, {"states": [State.DELIVERED], "event_type": "message"}):
        for table in ("deliveries", "events"):
            with Session(database) as session, reading_less_than(3_000, session, table, wanted):
                count(session, find_account(session, "acme"), Selection(**wanted))
        with Session(database) as session:
            found = count(session, find_account(session, "acme"), Selection(**wanted))
        assert (found.matched, found.is_complete) == (1_000, False)


def test_of_an_account_that_has_stored_as_much_as_it_may_an_order_waits_for_room(
    database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    discarded(database, 2)
    ordered(database)
    change(database, "UPDATE dispatcher.accounts SET stored_bytes = 7, limits = '{\"stored_bytes\": 7}'")
    assert redeliver_more(settings) == {"redelivered": 0, "open": 0}
    change(database, "UPDATE dispatcher.accounts SET stored_bytes = 6")
    assert redeliver_more(settings)["redelivered"] == 2
