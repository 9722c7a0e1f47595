"""Heartbeats and leases, as several processes see them."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

from dispatcher.db.heartbeat import API, DELIVERS, MAINTAINS, SUSPECTS, Asked, Fault, Heartbeat
from dispatcher.db.leases import set_end
from dispatcher.db.models import Base
from dispatcher.db.version import newest_migration
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.version import __version__
from tests.factories import change, make_webhook, rows
from tests.installations import worker_for
from tests.odd_rows import odd_values
from tests.relay import relayed

SWEEP = Asked("sweep", timedelta(seconds=15))
LATER = Asked("sweep", timedelta(seconds=15), late=timedelta(seconds=5))
SOON = Asked("sweep", timedelta(seconds=15), late=timedelta(seconds=-2))


@pytest.fixture
def engine(database: Engine, settings: Settings) -> Engine:
    """A loop's connections."""
    return worker_for(settings).loop_engine


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[tuple[str, bool]]]:
    """Those that were run on them, and whether each was its own transaction."""
    run: list[tuple[str, bool]] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        run.append((statement, cursor.connection.autocommit))

    event.listen(engine, "before_cursor_execute", note)
    yield run
    event.remove(engine, "before_cursor_execute", note)


def processes(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.processes ORDER BY id")


def lease(database: Engine) -> Any:
    (row,) = rows(database, "SELECT name, holder, until - now() AS left FROM dispatcher.leases")
    return row


def is_due(database: Engine, ago: str = "1 millisecond") -> None:
    """Makes the lease of the sweep, which ended so long ago."""
    change(
        database,
        f"INSERT INTO dispatcher.leases VALUES ('sweep', gen_random_uuid(), now() - interval '{ago}')"
        " ON CONFLICT (name) DO UPDATE SET until = excluded.until",
    )


def test_a_process_says_what_it_is_and_what_it_does_until_it_leaves(database: Engine, engine: Engine) -> None:
    heartbeat = Heartbeat()
    heartbeat.beat(engine, DELIVERS, "parked")
    (row,) = processes(database)
    assert (row.id, row.kind, row.doing, row.host) == (heartbeat.id, "deliver", "parked", socket.gethostname())
    assert (row.pid, row.version) == (os.getpid(), __version__)
    assert (row.schema_from, row.schema_to) == (newest_migration(), newest_migration())
    assert timedelta(0) <= row.seen_at - row.started_at < timedelta(seconds=10)
    heartbeat.beat(engine, DELIVERS, "delivering")
    (later,) = processes(database)
    assert (later.id, later.started_at, later.doing) == (row.id, row.started_at, "delivering")
    assert later.seen_at > row.seen_at
    other = Heartbeat()
    other.beat(engine, API, "serving")
    heartbeat.leave(engine)
    assert [row.id for row in processes(database)] == [other.id]


def test_a_heartbeat_is_one_statement_without_a_transaction_around_it(
    engine: Engine, statements: list[tuple[str, bool]]
) -> None:
    heartbeat = Heartbeat()
    engine.dispose()
    for _ in range(3):
        heartbeat.beat(engine, DELIVERS, "parked", SWEEP)
    assert [statement.split()[0] for statement, _ in statements] == ["PREPARE", "EXECUTE", "EXECUTE", "EXECUTE"]
    assert {alone for _, alone in statements} == {True}


def test_who_was_deleted_meanwhile_is_there_again_with_its_beginning(database: Engine, engine: Engine) -> None:
    heartbeat = Heartbeat()
    heartbeat._began -= 7_200
    heartbeat.beat(engine, DELIVERS, "parked")
    change(database, "DELETE FROM dispatcher.processes")
    heartbeat.beat(engine, DELIVERS, "parked")
    (row,) = processes(database)
    assert timedelta(hours=2) <= row.seen_at - row.started_at < timedelta(hours=2, seconds=10)


def test_only_living_processes_that_deliver_are_counted(database: Engine, engine: Engine) -> None:
    def seen(kind: str, doing: str, ago: str) -> None:
        change(
            database,
            "INSERT INTO dispatcher.processes VALUES"
            f" (gen_random_uuid(), :kind, 'h', 1, 'v', '1', '1', now(), now() - interval '{ago}', :doing)",
            kind=kind,
            doing=doing,
        )

    seen(DELIVERS, "parked", "29 seconds")
    seen(DELIVERS, "delivering", "1 second")
    seen(MAINTAINS, SUSPECTS, "1 second")
    seen(DELIVERS, "parked", "31 seconds")  # dead
    seen(DELIVERS, "parked", "-1 hour")  # a wrong clock, once
    seen(MAINTAINS, "sweep", "1 second")
    seen(API, "serving", "1 second")
    assert Heartbeat().beat(engine, DELIVERS, "parked").others == 3
    assert Heartbeat().beat(engine, DELIVERS, "parked").others == 4


def test_a_fault_of_the_host_is_shown_and_told_to_the_living_others_of_that_host(
    database: Engine, engine: Engine
) -> None:
    first, second = Heartbeat(), Heartbeat()
    fault = Fault("dns tls", timedelta(minutes=2))
    assert first.beat(engine, DELIVERS, "parked", fault=fault).faults == frozenset()
    (row,) = processes(database)
    assert (row.fault, row.seen_at - row.fault_since) == ("dns tls", timedelta(minutes=2))
    assert second.beat(engine, DELIVERS, "parked").faults == {"dns", "tls"}
    change(database, "UPDATE dispatcher.processes SET host = 'another' WHERE fault IS NOT NULL")
    assert second.beat(engine, DELIVERS, "parked").faults == frozenset()
    change(
        database,
        "UPDATE dispatcher.processes SET host = :host, seen_at = now() - interval '31 seconds' WHERE fault IS NOT NULL",
        host=socket.gethostname(),
    )
    assert second.beat(engine, DELIVERS, "parked").faults == frozenset()
    first.beat(engine, DELIVERS, "parked")
    assert [(row.fault, row.fault_since) for row in processes(database)] == [(None, None)] * 2


def test_accounts_and_webhooks_are_counted_up_to_a_few(database: Engine, engine: Engine, settings: Settings) -> None:
    counts = []
    for account in ("acme", "hooli", "hooli", "initech", "umbrella"):
        make_webhook(database, settings, account=account, url="https://example.com/")
        beaten = Heartbeat().beat(engine, DELIVERS, "parked")
        counts.append((beaten.accounts, beaten.webhooks))
    assert counts == [(1, 1), (2, 2), (2, 3), (3, 3), (3, 3)]


def test_the_first_who_asks_for_a_lease_makes_it_and_the_next_takes_it(database: Engine, engine: Engine) -> None:
    first, second = Heartbeat(), Heartbeat()
    assert not first.beat(engine, DELIVERS, "parked", SWEEP).has_lease
    assert second.beat(engine, DELIVERS, "parked", SWEEP).has_lease
    assert lease(database).holder == second.id
    assert timedelta(seconds=14) < lease(database).left <= timedelta(seconds=15)


def test_of_many_who_ask_at_once_one_has_the_lease(database: Engine, engine: Engine) -> None:
    for _ in range(5):
        is_due(database)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(Heartbeat().beat, engine, DELIVERS, "parked", SWEEP) for _ in range(8)]
        assert [each.result().has_lease for each in asked].count(True) == 1


def test_a_lease_ends_by_itself_and_says_when(database: Engine, engine: Engine) -> None:
    dead, living = Heartbeat(), Heartbeat()
    is_due(database)
    assert dead.beat(engine, DELIVERS, "parked", SWEEP).has_lease
    refused = living.beat(engine, DELIVERS, "parked", SWEEP)
    assert not refused.has_lease
    assert 14 < refused.ends_in <= 15
    is_due(database)
    assert living.beat(engine, DELIVERS, "parked", SWEEP).has_lease
    set_end(engine, "sweep", dead.id, timedelta(0))
    assert lease(database).left > timedelta(seconds=14), "it is not the dead one's any more"
    set_end(engine, "sweep", living.id, timedelta(seconds=3))
    assert timedelta(seconds=2) < lease(database).left <= timedelta(seconds=3)


def test_a_process_that_got_no_answer_has_its_lease_with_the_next_heartbeat(
    database: Engine, settings: Settings, engine: Engine
) -> None:
    """Else nobody sweeps until a lease ends of which nobody knows."""
    heartbeat = Heartbeat()
    is_due(database)
    with relayed(settings) as (relay, through):
        behind = worker_for(through).loop_engine
        relay.lose_answer(after=b"EXECUTE heartbeat", to=b"")
        with pytest.raises(DBAPIError):
            heartbeat.beat(behind, DELIVERS, "parked", SWEEP)
        assert lease(database).holder == heartbeat.id
        assert not Heartbeat().beat(engine, DELIVERS, "parked", SWEEP).has_lease
        assert heartbeat.beat(behind, DELIVERS, "parked", SWEEP).has_lease
        relay.lose_answer(after=b"UPDATE dispatcher.leases", to=b"")
        with pytest.raises(DBAPIError):
            heartbeat.set_end(behind, "sweep", timedelta(seconds=3))
        assert lease(database).left <= timedelta(seconds=3)
        assert heartbeat.beat(behind, DELIVERS, "parked", SWEEP).has_lease, "it cannot know that its end is set"
    heartbeat.set_end(engine, "sweep", timedelta(seconds=3))
    for _ in range(2):
        assert not heartbeat.beat(engine, DELIVERS, "parked", SWEEP).has_lease, "it is not due yet"


def test_a_lease_that_was_lost_unanswered_is_not_taken_from_who_has_it_now(database: Engine, engine: Engine) -> None:
    late, living = Heartbeat(), Heartbeat()
    is_due(database)
    assert late.beat(engine, DELIVERS, "parked", SWEEP).has_lease
    is_due(database)
    assert living.beat(engine, DELIVERS, "parked", SWEEP).has_lease
    for _ in range(2):
        assert not late.beat(engine, DELIVERS, "parked", SWEEP).has_lease
    assert lease(database).holder == living.id


def test_who_asks_for_a_late_one_or_an_early_one_gets_that(database: Engine, engine: Engine) -> None:
    is_due(database, "4 seconds")
    assert not Heartbeat().beat(engine, DELIVERS, "delivering", LATER).has_lease
    is_due(database, "6 seconds")
    assert Heartbeat().beat(engine, DELIVERS, "delivering", LATER).has_lease
    is_due(database, "-3 seconds")
    assert not Heartbeat().beat(engine, MAINTAINS, "sweep", SOON).has_lease
    is_due(database, "-1 second")
    assert Heartbeat().beat(engine, MAINTAINS, "sweep", SOON).has_lease


@pytest.mark.parametrize(("table", "gets", "left"), [("processes", True, ["parked"]), ("leases", False, [])])
def test_a_row_that_somebody_has_locked_is_not_waited_for(
    database: Engine, engine: Engine, table: str, gets: bool, left: list[str]
) -> None:
    heartbeat = Heartbeat()
    is_due(database)
    heartbeat.beat(engine, DELIVERS, "parked")
    with database.connect() as somebody, somebody.begin():
        somebody.execute(text(f"SELECT 1 FROM dispatcher.{table} FOR UPDATE"))
        assert heartbeat.beat(engine, DELIVERS, "delivering", SWEEP).has_lease == gets
        set_end(engine, "sweep", heartbeat.id, timedelta(seconds=3))
        heartbeat.leave(engine)
    assert [row.doing for row in processes(database)] == left


@pytest.mark.parametrize("table", ["processes", "leases"])
def test_no_odd_value_of_any_column_keeps_a_process_from_its_heartbeat_and_its_lease(
    database: Engine, engine: Engine, table: str
) -> None:
    tried = 0
    for column, value in odd_values(Base.metadata.tables[f"dispatcher.{table}"], frozenset()):
        is_due(database)
        heartbeat = Heartbeat()
        change(
            database,
            "INSERT INTO dispatcher.processes VALUES (:id, 'deliver', 'h', 1, 'v', '1', '1', now(), now(), '')",
            id=new_id(),
        )
        change(database, f"UPDATE dispatcher.{table} SET {column} = {value}")
        heartbeat.beat(engine, DELIVERS, "parked", SWEEP)
        assert heartbeat.beat(engine, DELIVERS, "parked", SWEEP).has_lease or lease(database).holder == heartbeat.id
        tried += 1
    assert tried >= 6
