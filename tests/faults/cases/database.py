"""PostgreSQL that ends, refuses, forgets, waits or is full."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from signal import Signals

from sqlalchemy import text

from tests.faults.cases.case import case
from tests.faults.cases.load import burst
from tests.faults.ledgers import Died
from tests.faults.rig import Rig
from tests.faults.stage import why_no_small_disk

_LOST_ANSWERS = 12
_PAGE = 4096  # bytes
_RECORD, _CLAIM, _STORE = b"EXECUTE dispatcher_record", b"EXECUTE dispatcher_claim", b"EXECUTE dispatcher_store"


@case("PostgreSQL is restarted in its fast way", "postgres", promise=5)
def postgres_fast_restart(rig: Rig) -> Iterator[None]:
    burst(rig)
    rig.stage.postgres.end(Signals.SIGINT)
    yield
    _start(rig)


@case("PostgreSQL is restarted in its immediate way", "postgres", promise=5, died=Died.DATABASE)
def postgres_immediate_restart(rig: Rig) -> Iterator[None]:
    burst(rig)
    rig.stage.postgres.end(Signals.SIGQUIT)
    yield
    _start(rig)


@case("PostgreSQL is killed, and away for a minute", "postgres", promise=5, lasts=60, lasts_short=5, died=Died.DATABASE)
def postgres_killed(rig: Rig) -> Iterator[None]:
    burst(rig)
    rig.stage.postgres.crash()
    yield
    _start(rig)


def _start(rig: Rig) -> None:
    rig.stage.postgres.start_again()
    rig.database.dispose()


@case("PostgreSQL has no connection left: all are ended, and no new one is let in", "postgres", promise=5, lasts=10)
def postgres_out_of_connections(rig: Rig) -> Iterator[None]:
    with rig.database.connect() as connection:  # it stays
        connection.execute(text("ALTER DATABASE dispatcher CONNECTION LIMIT 0"))
        connection.execute(_END_OTHERS)
        yield
        connection.execute(text("ALTER DATABASE dispatcher CONNECTION LIMIT -1"))


@case("PostgreSQL is read-only, as after a fail-over to a standby, and writable again", "postgres", promise=5, lasts=10)
def postgres_read_only(rig: Rig) -> Iterator[None]:
    # What was connected meanwhile stays read-only, as a session with a demoted server does.
    rig.execute("ALTER DATABASE dispatcher SET default_transaction_read_only = on")
    rig.execute(_END_OTHERS.text)
    yield
    rig.execute("ALTER DATABASE dispatcher RESET default_transaction_read_only")


@case(
    "fail-over: the old server vanished without a word, the new one is there",
    "postgres",
    promise=30,
    died=Died.CLAIM,
)
def postgres_fail_over(rig: Rig) -> Iterator[None]:
    burst(rig)
    rig.stage.relays.postgres.vanish(new=False, server=False)
    yield


@case(
    "another session holds the whole table of deliveries",
    "postgres",
    promise=3,
    lasts=25,
    lasts_short=8,
    died=Died.CLAIM,
)
def deliveries_locked(rig: Rig) -> Iterator[None]:
    with rig.database.connect().execution_options(isolation_level="READ COMMITTED") as connection, connection.begin():
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))
        connection.execute(text("LOCK TABLE dispatcher.deliveries IN ACCESS EXCLUSIVE MODE"))
        yield


@case("the disk of PostgreSQL is full", "postgres", promise=10, lasts=15, why_not=why_no_small_disk, died=Died.DATABASE)
def disk_full(rig: Rig) -> Iterator[None]:
    disk = rig.stage.disk
    assert disk is not None
    filler = disk / "filler"
    filled = threading.Event()

    def fill() -> None:  # also what becomes free meanwhile
        with filler.open("wb") as file:
            size = 0
            while not filled.wait(0.1):
                piece = shutil.disk_usage(disk).free
                while piece >= _PAGE:
                    try:
                        os.posix_fallocate(file.fileno(), size, piece)
                        size += piece
                    except OSError:  # others took some of it
                        piece //= 2

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    yield
    filled.set()
    thread.join()
    filler.unlink()
    if rig.stage.postgres.process.poll() is not None:  # it gave up, as it does when it cannot write its log
        _start(rig)


@case(
    "a report reads all tables while a week's partitions must be made", "postgres", promise=3, lasts=20, lasts_short=8
)
def long_reader(rig: Rig) -> Iterator[None]:
    (last,) = rig.rows("""
        SELECT max(inhrelid::regclass::text) AS name FROM pg_inherits
        WHERE inhparent = 'dispatcher.events'::regclass AND inhrelid::regclass::text ~ '[0-9]$'""")
    rig.execute(f"DROP TABLE {last.name}")
    with rig.database.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        for table in ("events", "requests", "attempts", "audit", "deliveries"):
            connection.execute(text(f"SELECT 1 FROM dispatcher.{table} LIMIT 1"))
        yield
    deadline = time.monotonic() + 60
    while not rig.rows("SELECT 1 WHERE to_regclass(:name) IS NOT NULL", name=last.name):
        if time.monotonic() > deadline:
            rig.problems.append(f"partition {last.name} was not made within a minute of the reader's end")
            return
        time.sleep(0.2)


@case("answers to COMMITs are lost: of claims, of records, and of what stores events", "postgres", promise=5)
def commit_answers_lost(rig: Rig) -> Iterator[None]:
    relay = rig.stage.relays.postgres
    for number in range(_LOST_ANSWERS):
        match number % 3:
            case 0:
                relay.lose_answer(after=_RECORD)
            case 1:
                relay.lose_answer(after=_CLAIM)
            case _:
                relay.lose_answer(after=_STORE, to=b"")
        deadline = time.monotonic() + 10
        while not relay.lost and time.monotonic() < deadline:
            time.sleep(0.05)
        if not relay.lost and not rig.is_mixed:  # where nobody may be there to send it
            rig.problems.append(f"nobody sent what loss {number} waited for")
    yield


_END_OTHERS = text("""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = 'dispatcher' AND application_name <> 'rig' AND pid <> pg_backend_pid()""")
