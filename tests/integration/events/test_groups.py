"""Events of many callers are stored together, and none of them pays for another: by threads and by coroutines."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import closing
from itertools import count, repeat
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, text
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from dispatcher import (
    Accepted,
    Event,
    KeyReused,
    Producer,
    Refused,
    TooBusy,
    Unavailable,
    UnknownAccount,
    enqueue,
    enqueue_many,
)
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.lifecycle import suspend
from dispatcher.db.engines import REQUESTS, Limits, make_engine
from dispatcher.db.prepared import from_pool
from dispatcher.events import async_groups, groups, thread_groups, waiting_room
from dispatcher.events.aenqueue import aenqueue
from dispatcher.events.groups import Groups
from dispatcher.events.storing import STORE, checked
from dispatcher.producer import GROUPS
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port
from tests.factories import TESTER, change, deliveries, make_account, make_webhook, rows
from tests.integration.events.fronts import FRONTS, Front, held_groups
from tests.process_table import eventually

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def producer(settings: Settings, database: Engine) -> Iterator[Producer]:
    """A producer with an account of its own."""
    make_account(database)
    one = Producer(settings, name="grouped")
    yield one
    one.close()


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest, producer: Producer) -> Iterator[Front]:
    with FRONTS[request.param](producer) as one:
        yield one


@pytest.fixture
def poison(database: Engine) -> Iterator[str]:
    """A subject that the database refuses."""
    rule = "ALTER TABLE dispatcher.events ADD CONSTRAINT refusal CHECK (subject <> 'poison')"
    change(database, rule)
    yield "poison"
    change(database, "ALTER TABLE dispatcher.events DROP CONSTRAINT refusal")


@pytest.fixture
def holder(database: Engine) -> Iterator[Session]:
    """Somebody's open transaction."""
    with Session(database) as session:
        yield session


DATA = "SELECT convert_from(data, 'UTF8')::int AS data FROM dispatcher.events"


def stored(database: Engine) -> list[Any]:
    """The data of all events, sorted."""
    return [row.data for row in rows(database, f"{DATA} ORDER BY 1")]


def test_what_comes_while_a_statement_runs_goes_into_the_next_one(
    front: Front, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url=URL)
    with held_groups() as held:
        first = front.call(-1)
        held.wait()
        others = front.call_many(40)
        front.wait_for(40)
        held.let_go()
        receipts = [call.result(20) for call in [first, *others]]
    assert held.sizes == [1, 40]
    assert {receipt.event_id for receipt in receipts} == {row.event_id for row in deliveries(database)}
    assert stored(database) == [*range(-1, 40)]


def test_a_lone_caller_waits_for_nobody(front: Front, database: Engine) -> None:
    with held_groups() as held:
        held.let_go()
        for number in range(3):
            front.call(number).result(20)
    assert held.sizes == [1, 1, 1]


def test_workers_are_woken_after_the_commit(
    front: Front, database: Engine, settings: Settings, broker: "redis.Redis"
) -> None:
    make_webhook(database, settings, url=URL)
    front.call().result(20)
    assert eventually(lambda: broker.llen("deliver") == 1)


def test_each_caller_has_its_own_outcome(front: Front, database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    suspended = make_account(database, "suspended")
    with Session(database) as session, session.begin():
        suspend(session, find_account(session, suspended), by=TESTER)
    with held_groups() as held:
        first = front.call(-1, idempotency_key="k")
        held.wait()
        calls = [
            front.call(1),
            front.call(-1, idempotency_key="k"),
            front.call(2, idempotency_key="k"),
            front.call(3, account="nobody"),
            front.call(4, account="suspended"),
            front.call(5, idempotency_key="twice"),
            front.call(5, idempotency_key="twice"),
            front.call(object()),
        ]
        front.wait_for(7)  # the last one is no JSON
        held.let_go()
        ended = [call.exception(20) or call.result() for call in calls]
    assert held.sizes == [1, 7]
    assert [type(one).__name__ for one in ended] == [
        "Accepted",
        "Accepted",
        "KeyReused",
        "UnknownAccount",
        "AccountSuspended",
        "Accepted",
        "Accepted",
        "InvalidEvent",
    ]
    assert (ended[1].event_id, ended[1].repeated) == (first.result().event_id, True)
    assert ended[5].event_id == ended[6].event_id
    assert {ended[5].repeated, ended[6].repeated} == {False, True}
    assert stored(database) == [-1, 1, 5]


def test_what_the_database_refuses_fails_alone(front: Front, database: Engine, poison: str) -> None:
    with held_groups() as held:
        front.call(-1)
        held.wait()
        calls = front.call_many(20)
        bad = [front.call(100, subject=poison), front.call(101, subject=poison)]
        front.wait_for(22)
        held.let_go()
        assert [call.exception(20) for call in calls] == [None] * 20
        for call in bad:
            error = call.exception(20)
            assert isinstance(error, IntegrityError)
            assert poison not in str(error)
        assert bad[0].exception() is not bad[1].exception()
    assert stored(database) == [*range(-1, 20)]


def test_of_many_events_at_once_the_one_that_is_refused_has_its_own_receipt(
    producer: Producer, database: Engine, poison: str
) -> None:
    events = [Event(type="a", data=n, account="acme", subject=poison if n == 5 else None) for n in range(12)]
    receipts = list(enqueue_many(events, producer=producer))
    assert [number for number, receipt in enumerate(receipts) if isinstance(receipt, Refused)] == [5]
    assert stored(database) == [*range(5), *range(6, 12)]


def test_who_waits_for_a_locked_key_waits_alone(
    front: Front, database: Engine, settings: Settings, holder: Session
) -> None:
    make_webhook(database, settings, url=URL)
    enqueue("a", 100, account="acme", idempotency_key="k", session=holder, producer=front.producer)
    with held_groups() as held:
        front.call(-1)
        held.wait()
        waiting = front.call(100, idempotency_key="k")
        others = [*front.call_many(10), *(front.call(n, idempotency_key=f"other-{n}") for n in range(10, 20))]
        front.wait_for(21)
        held.let_go()
        assert [call.exception(20) for call in others] == [None] * 20
        # That key is known to be locked: whoever comes with it does not enter a group.
        again = front.call(100, idempotency_key="k")
        front.call(20).result(20)
        assert not waiting.done()
        assert not again.done()
        holder.commit()
        assert [call.result(20).repeated for call in (waiting, again)] == [True, True]
    assert held.sizes == [1, 21, 1]
    assert stored(database) == [*range(-1, 21), 100]


def test_a_group_of_nothing_but_a_locked_key_keeps_nobody_waiting(
    front: Front, database: Engine, settings: Settings, holder: Session
) -> None:
    make_webhook(database, settings, url=URL)
    enqueue("a", 100, account="acme", idempotency_key="k", session=holder, producer=front.producer)
    with held_groups() as held:
        front.call(-1)
        held.wait()
        waiting = [front.call(100, idempotency_key="k") for _ in range(3)]
        front.wait_for(3)
        held.let_go()
        assert eventually(lambda: held.sizes == [1, 3])
        front.call(1).result(20)
        holder.commit()
        assert [call.result(20).repeated for call in waiting] == [True] * 3
    assert held.sizes == [1, 3, 1]
    assert stored(database) == [-1, 1, 100]


def test_who_waits_too_long_for_a_locked_key_is_told_that_nothing_was_stored(
    settings: Settings, database: Engine, holder: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(database)
    producer = Producer(settings)
    url = settings.database_url.get_secret_value()
    producer.statements = make_engine(url, autocommit=True, limits=Limits(REQUESTS.statement, lock=0.2))
    enqueue("a", 1, account="acme", idempotency_key="k", session=holder, producer=producer)
    with pytest.raises(Unavailable, match="not stored"):
        enqueue("a", 1, account="acme", idempotency_key="k", producer=producer)
    with pytest.raises(Unavailable, match="not stored"):
        asyncio.run(aenqueue("a", 1, account="acme", idempotency_key="k", producer=producer))
    producer.close()
    holder.rollback()
    assert stored(database) == []


def test_a_locked_table_delays_all_and_fails_none(front: Front, database: Engine, holder: Session) -> None:
    front.call(-1).result(20)
    holder.execute(text("LOCK dispatcher.idempotency_keys IN ACCESS EXCLUSIVE MODE"))
    calls = [*front.call_many(5), front.call(5, idempotency_key="k")]
    locked = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'grouped' AND wait_event_type = 'Lock'"
    with Session(database) as other:
        assert eventually(lambda: bool(other.scalars(text(locked)).all()))
    holder.rollback()
    assert [call.exception(20) for call in calls] == [None] * 6
    assert stored(database) == [*range(-1, 6)]


def test_an_event_with_very_many_webhooks_goes_alone_from_its_second_time_on(
    front: Front, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "HUGE", 3)
    for _ in range(3):
        make_webhook(database, settings, url=URL, account="large")
    with held_groups() as held:
        held.let_go()
        assert front.call(0, account="large").result(20).deliveries == 3
        assert front.call(1, account="large").result(20).deliveries == 3
        assert front.call(2).result(20).deliveries == 0
    assert held.sizes == [1, 1]  # the first one, and the other account's
    assert stored(database) == [0, 1, 2]


def test_of_events_with_very_many_webhooks_an_account_has_three_stored_at_once(
    producer: Producer, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "HUGE", 3)
    for _ in range(3):
        make_webhook(database, settings, url=URL)
    running, go_on, store_alone = list[object](), threading.Event(), Groups.store_alone

    def held(self: Groups, item: Any) -> Any:
        running.append(item)
        assert go_on.wait(20)
        return store_alone(self, item)

    with FRONTS["asyncio"](producer) as front:
        front.call(0).result(20)
        monkeypatch.setattr(Groups, "store_alone", held)
        calls = [front.call(number) for number in range(1, 11)]
        (own,) = producer.kept[async_groups._ByLoop].values()
        assert eventually(lambda: own._alone_room._count == 10)
        assert len(running) == 3
        go_on.set()
        assert [call.result(20).deliveries for call in calls] == [3] * 10


def test_a_group_has_few_events_of_many_webhooks(
    front: Front, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP_DELIVERIES", 10)
    for _ in range(5):
        make_webhook(database, settings, url=URL)
    with held_groups() as held:
        held.let_go()
        front.call(-2).result(20)
    with held_groups() as held:
        front.call(-1)
        held.wait()
        calls = front.call_many(5)
        front.wait_for(5)
        held.let_go()
        assert [call.result(20).deliveries for call in calls] == [5] * 5
    assert held.sizes == [1, 2, 2, 1]


def test_neither_has_it_if_each_event_is_of_a_new_kind(
    front: Front, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP_DELIVERIES", 10)
    for _ in range(5):
        make_webhook(database, settings, url=URL)
    with held_groups() as held:
        held.let_go()
        front.call(-2, app="new").result(20)
    with held_groups() as held:
        front.call(-1)
        held.wait()
        calls = [front.call(number, app=f"new {number}") for number in range(5)]
        front.wait_for(5)
        held.let_go()
        assert [call.result(20).deliveries for call in calls] == [5] * 5
    assert held.sizes == [1, 2, 2, 1]


def sizes_of_six(front: Front, account: str, apps: Iterator[str | None]) -> list[int]:
    """The groups that six events of an account are stored in if they wait together."""
    with held_groups() as held:
        front.call(-1, app="another")
        held.wait()
        calls = [front.call(number, account=account, app=app) for number, app in zip(range(6), apps, strict=False)]
        front.wait_for(6)
        held.let_go()
        assert [call.exception(20) for call in calls] == [None] * 6
    return held.sizes[1:]


def test_of_an_account_that_is_new_few_events_are_in_a_group(
    front: Front, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP_DELIVERIES", 300)
    make_account(database, "new")
    assert sizes_of_six(front, "new", repeat(None)) == [4, 2]
    assert sizes_of_six(front, "new", repeat(None)) == [6]


def test_what_was_seen_of_one_kind_says_nothing_of_another_that_many_webhooks_may_take(
    front: Front, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP_DELIVERIES", 300)
    front.call(0).result(20)
    assert sizes_of_six(front, "acme", map(str, count())) == [4, 2]


def test_nor_does_what_was_seen_some_seconds_ago_webhooks_are_made_meanwhile(
    front: Front, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP_DELIVERIES", 300)
    monkeypatch.setattr(groups, "KNOWN_SECONDS", 0)
    front.call(0).result(20)
    assert sizes_of_six(front, "acme", repeat(None)) == [4, 2]


def test_accounts_of_which_nothing_is_known_have_one_event_each_in_a_group(
    front: Front, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP_DELIVERIES", 101)
    for number in range(6):
        make_account(database, f"new {number}")
    with held_groups() as held:
        front.call(-1)
        held.wait()
        calls = [front.call(number, account=f"new {number % 6}") for number in range(12)]
        front.wait_for(12)
        held.let_go()
        assert [call.exception(20) for call in calls] == [None] * 12
    assert held.sizes == [1, 7, 5]


def test_of_many_events_of_one_caller_so_few_are_stored_together_too(
    producer: Producer, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP_DELIVERIES", 300)
    monkeypatch.setattr(groups, "KNOWN_SECONDS", 0)
    sizes: list[int] = []
    producer.on_group = sizes.append
    for _ in range(2):
        list(enqueue_many((Event(type="a", data=number, account="acme") for number in range(6)), producer=producer))
    assert sizes == [4, 2, 4, 2]


@pytest.fixture
def slow(producer: Producer, database: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A subject whose events take longer than a group may."""
    change(
        database,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN IF NEW.subject = ''slow'' THEN PERFORM pg_sleep(0.5); END IF; RETURN NEW; END'",
    )
    change(database, "CREATE TRIGGER slow BEFORE INSERT ON dispatcher.events FOR EACH ROW EXECUTE FUNCTION slow()")
    url = producer.settings.database_url.get_secret_value()
    short = make_engine(url, autocommit=True, plan_once=True, limits=GROUPS._replace(statement=0.3))
    monkeypatch.setattr(producer, "groups", short)
    yield "slow"
    short.dispose()
    change(database, "DROP FUNCTION slow CASCADE")


def test_all_of_a_group_that_takes_too_long_go_alone_at_once_and_nobody_waits_for_halves(
    front: Front, slow: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, tried = Groups._run, list[tuple[bool, int]]()

    def noted(self: Groups, engine: Engine, items: Any) -> Any:
        tried.append((engine is front.producer.groups, len(items)))
        return run(self, engine, items)

    monkeypatch.setattr(Groups, "_run", noted)
    with held_groups() as held:
        front.call(-1)
        held.wait()
        calls = [*front.call_many(4), front.call(4, subject=slow)]
        front.wait_for(5)
        held.let_go()
        assert [call.exception(20) for call in calls] == [None] * 5
    assert sorted(tried) == [(False, 1)] * 5 + [(True, 1), (True, 5)]
    assert stored(database) == [*range(-1, 5)]


def test_what_was_seen_of_such_events_is_forgotten_at_once(
    producer: Producer, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP_DELIVERIES", 300)
    known, items = Groups(producer), [checked(Event(type="a", data=1, account="acme", subject=slow))] * 6
    known.store([checked(Event(type="a", data=1, account="acme"))])
    assert [len(piece) for piece in known.pieces(items)] == [6]
    assert known.store(items[:1]) == [groups.ALONE]
    assert [len(piece) for piece in known.pieces(items)] == [4, 2]


def test_a_group_may_take_a_second_and_its_commit_as_long_as_any(producer: Producer) -> None:
    with from_pool(producer.groups) as connection, from_pool(producer.statements) as other:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchall() == [("1s",)]
        assert connection.longest == other.longest == 9


def test_many_events_of_one_caller_are_divided_by_the_deliveries_that_they_will_have(
    producer: Producer, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP_DELIVERIES", 10)
    for _ in range(5):
        make_webhook(database, settings, url=URL)
    sizes: list[int] = []
    producer.on_group = sizes.append
    events = [Event(type="a", data=number, account="acme", app=f"new {number}") for number in range(6)]
    assert [receipt.deliveries for receipt in enqueue_many(events, producer=producer)] == [5] * 6  # type: ignore[union-attr]
    assert sizes == [2, 2, 2]


def test_an_event_of_another_account_is_in_the_next_group_however_many_wait(
    front: Front, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "GROUP", 4)
    make_account(database, "other")
    with held_groups() as held:
        front.call(-1)
        held.wait()
        flood = front.call_many(30)
        front.wait_for(30)
        other = front.call(100, account="other")
        front.wait_for(31)
        held.let_go()
        other.result(20)
        for call in flood:
            call.result(20)
    order = [row.data for row in rows(database, f"{DATA} ORDER BY xmin::text::bigint, ctid")]
    assert 100 in order[1:5]  # of the second statement


def test_who_finds_no_room_is_told_so_and_nothing_of_it_is_stored(
    front: Front, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "ROOM", 4)
    make_account(database, "other")
    with held_groups() as held:
        front.call(-1)
        held.wait()
        waiting = front.call_many(2)
        front.wait_for(2)
        assert isinstance(front.call(7).exception(20), TooBusy)
        other = front.call(8, account="other")
        front.wait_for(3)
        held.let_go()
        assert [call.exception(20) for call in [*waiting, other]] == [None] * 3
    assert front.call(9).exception(20) is None
    assert stored(database) == [-1, 0, 1, 8, 9]


def test_who_waits_too_long_is_told_whether_its_event_can_be_stored(
    front: Front, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (thread_groups, async_groups):
        monkeypatch.setattr(module, "WAIT_SECONDS", 0.5)
    store, stuck = Groups.store, threading.Event()

    def late(groups: Groups, items: Any) -> Any:
        outcomes = store(groups, items)
        stuck.wait(20)
        return outcomes

    with held_groups() as held:
        first = front.call(-1)
        held.wait()
        follower, another = front.call(1), front.call(2)
        front.wait_for(2)
        errors = [call.exception(20) for call in (follower, another)]
        held.let_go()
        first.exception(20)
    assert all(isinstance(error, Unavailable) and "was not stored" in str(error) for error in errors)
    monkeypatch.setattr(Groups, "store", late)
    leader = front.call(3)
    assert eventually(lambda: stored(database) == [-1, 3])
    # A thread that leads waits for the database itself: as long as that takes.
    if front.name == "asyncio":
        assert "may have been stored" in str(leader.exception(20))
    stuck.set()
    leader.exception(20)


def test_who_follows_in_a_group_that_does_not_end_is_told_that_its_event_may_be_stored(
    producer: Producer, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_groups, "WAIT_SECONDS", 0.5)
    with FRONTS["threads"](producer) as front, held_groups() as held:
        first = front.call(-1)
        held.wait()
        calls = front.call_many(2)
        front.wait_for(2)
        stuck = threading.Event()
        monkeypatch.setattr(held, "note", lambda _: stuck.wait(20))
        held.let_go()
        first.result(20)
        assert eventually(lambda: any(call.done() for call in calls))
        (error,) = [call.exception() for call in calls if call.done()]
        assert isinstance(error, Unavailable)
        assert "may have been stored" in str(error)
        stuck.set()
        assert {str(call.exception(20)) for call in calls} == {str(error), "None"}
    assert stored(database) == [-1, 0, 1]


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing(front: Front, database: Engine) -> None:
    front.call(0).result(20)
    end_connections(database)
    assert [call.exception(20) for call in front.call_many(5)] == [None] * 5


def end_connections(database: Engine) -> None:
    ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'grouped'"
    assert rows(database, ended)


def test_a_connection_lost_in_a_statement_fails_its_group_and_no_other(
    front: Front, database: Engine, holder: Session
) -> None:
    front.call(-1).result(20)
    holder.execute(text("LOCK dispatcher.idempotency_keys IN ACCESS EXCLUSIVE MODE"))
    call = front.call(0)
    # In a group it would not wait for so long: it waits alone.
    locked = """SELECT 1 FROM pg_stat_activity WHERE application_name = 'grouped' AND wait_event_type = 'Lock'
                AND clock_timestamp() - query_start > interval '0.2 s'"""
    assert eventually(lambda: bool(rows(database, locked)))
    end_connections(database)
    lost = call.exception(20)
    assert isinstance(lost, Unavailable)
    assert "may have been stored" in str(lost)
    assert isinstance(lost.__cause__, OperationalError)
    holder.rollback()
    assert front.call(1).exception(20) is None
    assert stored(database) == [-1, 1]


def test_a_database_that_is_away_ends_each_group_at_its_first_try_and_nothing_of_it_is_stored(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = make_engine(f"postgresql+psycopg2://dispatcher:secret@127.0.0.1:{refusing_port()}/dispatcher")
    tries: list[object] = []
    listen(away, "do_connect", lambda *given: tries.append(given))
    monkeypatch.setattr(front.producer, "groups", away)
    with held_groups() as held:
        first = front.call(-1)
        held.wait()
        others = front.call_many(10)
        front.wait_for(10)
        held.let_go()
        errors = [call.exception(20) for call in [first, *others]]
    told = "the database (DATABASE_URL) does not answer: the event was not stored"
    assert {(type(error), str(error)) for error in errors} == {(Unavailable, told)}
    assert len(tries) == 2


# Of threads alone


def test_a_leader_that_is_interrupted_leaves_nobody_waiting(producer: Producer, database: Engine) -> None:
    with FRONTS["threads"](producer) as front, held_groups() as held:
        interrupted = front.call(-1)
        held.wait()
        following = front.call_many(5)
        front.wait_for(5)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(held, "note", interrupt)
            held.let_go()
            interrupted.result(20)
            errors = [call.exception(20) for call in following]
        assert sorted(type(error).__name__ for error in errors) == ["KeyboardInterrupt", *["Unavailable"] * 4]
        assert front.call(7).exception(20) is None
    assert stored(database) == [-1, 7]


def test_a_signals_handler_may_send_an_event_while_its_thread_stores_one(
    producer: Producer, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_groups, "WAIT_SECONDS", 0.5)
    store = Groups.store

    def interrupted(groups: Groups, items: Any) -> Any:
        outcomes = store(groups, items)
        signal.raise_signal(signal.SIGUSR1)
        return outcomes

    monkeypatch.setattr(Groups, "store", interrupted)
    before = signal.signal(signal.SIGUSR1, lambda *_: enqueue("a", 2, account="acme", producer=producer))
    try:
        for number in (0, 1):
            enqueue("a", number, account="acme", producer=producer)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert stored(database) == [0, 1, 2, 2]


def test_a_forked_child_stores_events_of_its_own_while_its_parent_is_storing(
    producer: Producer, database: Engine
) -> None:
    with FRONTS["threads"](producer) as front, held_groups() as held:
        first = front.call(-1)
        held.wait()
        second = front.call(0)
        front.wait_for(1)
        if (child := os.fork()) == 0:
            status = 1
            try:
                held.let_go()
                enqueue("a", 1, account="acme", producer=producer)
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        held.let_go()
        assert [call.exception(20) for call in (first, second)] == [None, None]
    assert stored(database) == [-1, 0, 1]


# Of coroutines alone


def test_who_is_cancelled_takes_nobody_along(producer: Producer, database: Engine) -> None:
    with FRONTS["asyncio"](producer) as front, held_groups() as held:
        first = front.call(-1)
        held.wait()
        calls = front.call_many(10)
        front.wait_for(10)
        for call in calls[:5]:
            assert call.cancel()
        first.cancel()
        front.wait_for(5)
        held.let_go()
        assert [call.exception(20) for call in calls[5:]] == [None] * 5
        with pytest.raises(CancelledError):
            first.result(20)
    assert stored(database) == [-1, *range(5, 10)]


def test_one_that_is_cancelled_while_it_waits_alone_gives_its_place_back(
    producer: Producer, database: Engine, holder: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_groups, "ALONE_AT_ONCE", 2)
    enqueue("a", 1, account="acme", idempotency_key="k", session=holder, producer=producer)
    with FRONTS["asyncio"](producer) as front:
        calls = [front.call(1, idempotency_key="k") for _ in range(6)]
        active = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'grouped' AND wait_event_type = 'Lock'"
        assert eventually(lambda: bool(rows(database, active)))  # one transaction would always see the same
        for call in calls[2:5]:
            call.cancel()
        holder.commit()
        assert [calls[number].result(20).repeated for number in (0, 1, 5)] == [True] * 3


def test_who_waits_alone_is_bounded_too_and_an_account_leaves_half_to_the_others(
    producer: Producer, database: Engine, holder: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "ROOM", 8)
    make_account(database, "another")

    def alone() -> int:
        return sum(groups._alone_room._count for groups in producer.kept.get(async_groups._ByLoop, {}).values())

    def call_known(account: str, expected: int) -> "Future[Accepted]":
        call = front.call(1, account=account, idempotency_key="k")
        assert eventually(lambda: alone() == expected or call.done())
        return call

    for account in ("acme", "another"):
        enqueue("a", 1, account=account, idempotency_key="k", session=holder, producer=producer)
    with FRONTS["asyncio"](producer) as front:
        calls = [call_known("acme", number) for number in range(1, 5)]
        with pytest.raises(TooBusy):
            call_known("acme", 5).result(20)
        calls.append(call_known("another", 5))
        holder.commit()
        assert [call.result(20).repeated for call in calls] == [True] * 5
        assert front.call(1, idempotency_key="k").result(20).repeated
        assert alone() == 0


def test_a_thread_that_cannot_be_started_costs_no_place_and_no_later_event(
    producer: Producer, database: Engine, holder: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = RuntimeError("can't start new thread")

    def refuse(*_: object) -> None:
        raise refused

    with FRONTS["asyncio"](producer) as front:
        assert front.call(0).result(20).deliveries == 0
        (groups,) = producer.kept[async_groups._ByLoop].values()
        with monkeypatch.context() as patched:
            patched.setattr(groups._writer, "submit", refuse)
            first = front.call(1)
            front.wait_for(1)
        assert [call.result(20).repeated for call in (front.call(2), first)] == [False, False]
        enqueue("a", 3, account="acme", idempotency_key="k", session=holder, producer=producer)
        with monkeypatch.context() as patched:
            patched.setattr(groups._alone, "submit", refuse)
            for _ in range(async_groups.ALONE_AT_ONCE + 1):
                with pytest.raises(RuntimeError, match="new thread"):
                    front.call(3, idempotency_key="k").result(20)
        holder.commit()
        assert front.call(3, idempotency_key="k").result(20).repeated


def test_each_event_loop_has_its_own_groups_and_a_closed_one_leaves_no_thread(
    producer: Producer, database: Engine
) -> None:
    def threads() -> int:
        return sum(thread.name.startswith("dispatcher-groups") for thread in threading.enumerate())

    before = threads()
    for number in range(5):
        asyncio.run(aenqueue("a", number, account="acme", producer=producer))
    assert eventually(lambda: threads() <= before + 1)
    assert len(producer.kept[async_groups._ByLoop]) == 1
    producer.close()
    assert eventually(lambda: threads() <= before)
    assert stored(database) == [*range(5)]


def test_workers_are_woken_although_the_loop_of_the_caller_is_closed_meanwhile(
    producer: Producer, database: Engine, settings: Settings, broker: "redis.Redis"
) -> None:
    make_webhook(database, settings, url=URL)

    async def gone() -> None:
        call = asyncio.create_task(aenqueue("a", 1, account="acme", producer=producer))
        await asyncio.to_thread(held.wait)
        call.cancel()

    with held_groups() as held:
        asyncio.run(gone())
        held.let_go()
        assert eventually(lambda: broker.llen("deliver") == 1)
    assert stored(database) == [1]


def test_a_known_key_and_an_unknown_account_raise_as_in_enqueue(producer: Producer, database: Engine) -> None:
    async def twice() -> None:
        await aenqueue("a", 1, account="acme", idempotency_key="k", producer=producer)
        with pytest.raises(KeyReused):
            await aenqueue("a", 2, account="acme", idempotency_key="k", producer=producer)
        with pytest.raises(UnknownAccount):
            await aenqueue("a", 2, account="nobody", producer=producer)

    asyncio.run(twice())


def test_one_statement_serves_one_event_and_a_thousand(producer: Producer, database: Engine) -> None:
    enqueue("a", 0, account="acme", producer=producer)
    list(enqueue_many((Event(type="a", data=number, account="acme") for number in range(1, 1_001)), producer=producer))
    connection = producer.groups.raw_connection()
    (prepared,) = [name for name in connection.info if name == STORE._name]
    cursor = connection.cursor()
    cursor.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = %s", (prepared,))
    assert cursor.fetchall() == [(2, 0)]
    connection.close()
    assert len(stored(database)) == 1_001
