"""What the events of each account take is counted by upkeep, each event and request once, and forgotten with its
week."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import (
    RECEIVED,
    change,
    deliver_all,
    deliveries,
    make_account,
    make_due,
    make_webhook,
    rows,
    sweep_once,
    upkeep_once,
)
from tests.receiver import Receiver
from workers.maintenance import stored_events
from workers.maintenance.stored_events import (
    ATTEMPT_BYTES,
    DELIVERY_BYTES,
    EVENT_BYTES,
    REQUEST_BYTES,
    count_stored,
)

LONG = 10.0


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts also what was just stored."""
    for late in ("LATE", "LATE_REQUESTS"):
        monkeypatch.setattr(stored_events, late, timedelta(seconds=-5))


def counted(database: Engine, until: float | None = None) -> int:
    ends = monotonic() + LONG if until is None else until
    return count_stored(database, datetime.now(UTC), ends)["events_counted"]


def stored(database: Engine) -> dict[str, int | None]:
    found = rows(database, "SELECT name, stored_bytes FROM dispatcher.accounts ORDER BY name")
    return {row.name: row.stored_bytes for row in found}


def send(number: int, account: str = "acme", size: int = 100) -> None:
    for _ in range(number):
        enqueue(RECEIVED, b'"%s"' % (b"x" * (size - 2)), account=account)


def test_messages_events_and_deliveries_count_for_their_account(database: Engine, settings: Settings) -> None:
    for name in "ab":
        make_webhook(database, settings, url="https://example.com/", name=name)
    make_account(database, "globex")
    make_account(database, "quiet")
    send(3)
    send(1, "globex", 5_000)
    assert counted(database) == 4
    assert stored(database) == {
        "acme": 3 * (100 + EVENT_BYTES + 2 * DELIVERY_BYTES),
        "globex": 5_000 + EVENT_BYTES,
        "quiet": None,
    }


def test_so_do_texts_beside_the_message_which_can_be_longer(database: Engine) -> None:
    make_account(database)
    enqueue(RECEIVED, b"1", account="acme", app="€" * 255, subject="😀" * 255)
    counted(database)
    assert stored(database) == {"acme": 1 + EVENT_BYTES + 3 * 255 + 2 * 4 * 255}


def test_retries_and_what_receivers_answer_count_too_for_the_account_of_the_webhook(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    make_account(database, "quiet")
    receiver.script("/hook", *[Answer(500, (("X-Long", "h" * 3_000),), b"x" * 9_000)] * 2, Answer(200))
    send(1)
    for _ in range(3):
        make_due(database)
        sweep_once(settings)
        deliver_all(settings)
    assert [delivery.state for delivery in deliveries(database)] == ["delivered"]
    texts = rows(database, "SELECT url_masked, headers_masked, answer_headers, answer_excerpt FROM dispatcher.requests")
    kept = [len(bytes(text) if isinstance(text, memoryview) else text.encode()) for row in texts for text in row]
    assert len(texts) == 3
    assert sum(kept) > 2 * (3_000 + 4_096)
    expected = 100 + EVENT_BYTES + DELIVERY_BYTES + 3 * (REQUEST_BYTES + ATTEMPT_BYTES) + sum(kept)
    for _ in range(2):  # the second time, nothing is new
        counted(database)
        assert stored(database) == {"acme": expected, "quiet": None}


def test_each_event_is_counted_once_in_any_number_of_pieces_and_runs(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(database)
    send(3)
    assert [counted(database), counted(database)] == [3, 0]
    send(4)
    assert counted(database) == 4
    assert stored(database) == {"acme": 7 * (100 + EVENT_BYTES)}


def test_a_run_without_time_counts_nothing_and_the_next_one_all(database: Engine) -> None:
    make_account(database)
    send(3)
    assert counted(database, until=0.0) == 0
    assert counted(database) == 3


def test_what_is_as_young_as_an_open_transaction_waits(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    make_account(database)
    send(1)
    monkeypatch.setattr(stored_events, "LATE", timedelta(minutes=1))
    assert counted(database) == 0


def test_a_week_that_is_gone_counts_no_more(database: Engine) -> None:
    make_account(database)
    send(2)
    counted(database)
    change(database, "UPDATE dispatcher.stored_events SET week = week - 10")
    send(1)
    counted(database)
    assert stored(database) == {"acme": 100 + EVENT_BYTES}
    change(database, "DELETE FROM dispatcher.events")
    counted(database)
    assert stored(database) == {"acme": 0}


def test_the_weeks_are_those_of_the_partitions(database: Engine) -> None:
    make_account(database)
    send(1)
    counted(database)
    ((week,),) = rows(database, "SELECT week FROM dispatcher.stored_events")
    today = datetime.now(UTC).date()
    monday = today - timedelta(days=today.weekday())
    assert (datetime(1970, 1, 5, tzinfo=UTC) + week * timedelta(weeks=1)).date() == monday


def locked_while(database: Engine, lock: str, do: Callable[[], object]) -> None:
    with Session(database) as session, session.begin():
        session.connection().exec_driver_sql(lock)
        do()


def test_what_is_locked_for_long_is_left_and_made_up_for_later(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_events, "LOCK_TIMEOUT", "50ms")
    make_account(database)
    send(1)
    locked_while(database, "SELECT 1 FROM dispatcher.accounts FOR UPDATE", lambda: counted(database))
    assert stored(database) == {"acme": None}
    send(1)
    locked_while(database, "SELECT 1 FROM dispatcher.installation FOR UPDATE", lambda: counted(database))
    assert stored(database) == {"acme": 100 + EVENT_BYTES}
    assert counted(database) == 1
    assert stored(database) == {"acme": 2 * (100 + EVENT_BYTES)}


def test_an_account_whose_row_is_locked_again_and_again_is_settled_all_the_same(database: Engine) -> None:
    make_account(database)
    send(1)
    ended = threading.Event()

    def lock_again(_: int) -> None:
        while not ended.is_set():
            locked_while(database, "SELECT 1 FROM dispatcher.accounts FOR UPDATE", lambda: sleep(0.02))

    with ThreadPoolExecutor(4) as threads:
        locking = threads.map(lock_again, range(4))  # it passes from one to the next
        try:
            sleep(0.1)
            assert counted(database) == 1
            assert stored(database) == {"acme": 100 + EVENT_BYTES}
        finally:
            ended.set()
        assert list(locking) == [None] * 4


def test_upkeep_does_it(database: Engine, settings: Settings) -> None:
    make_account(database)
    send(2)
    assert upkeep_once(settings)["events_counted"] == 2
