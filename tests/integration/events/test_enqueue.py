import json
import signal
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch
from uuid import RFC_4122

import pytest
import redis
from kombu.exceptions import LimitExceeded
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from dispatcher import (
    Accepted,
    DispatcherError,
    Event,
    InvalidEvent,
    KeyReused,
    Producer,
    Refused,
    Unavailable,
    UnknownAccount,
    WrongDatabase,
    enqueue,
    enqueue_many,
)
from dispatcher.db.engines import make_engine
from dispatcher.db.prepared import Prepared, from_pool
from dispatcher.ids import time_of
from dispatcher.settings import Settings, read_settings
from dispatcher.wake import Waker
from tests.factories import MESSAGE, RECEIVED, change, change_webhook, deliveries, make_account, make_webhook, rows
from tests.installations import close_installations
from tests.process_table import eventually

URL = "http://127.0.0.1:9/hook"


def stored_events(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.events ORDER BY id")


def wakes(broker: "redis.Redis") -> int:
    return broker.llen("deliver")  # type: ignore[return-value]


def test_an_event_is_stored_with_a_delivery_for_each_webhook_that_takes_it(
    database: Engine, settings: Settings
) -> None:
    taking = [
        make_webhook(database, settings, url=URL, event_types=[RECEIVED]),
        make_webhook(database, settings, url=URL, event_types=["message", "message.inbound"]),
        make_webhook(database, settings, url=URL, event_types=["*"]),
        make_webhook(database, settings, url=URL, event_types=["message.inbound"], enabled=False),
    ]
    make_webhook(database, settings, url=URL, event_types=["message.outbound", "message.inbound.received.x"])
    make_webhook(database, settings, url=URL, account="another")
    before = datetime.now(UTC)

    accepted = enqueue(RECEIVED, MESSAGE, account="acme", subject="msg-17")

    assert (accepted.deliveries, accepted.repeated) == (4, False)
    (event,) = stored_events(database)
    assert (event.id, event.type, event.subject, event.delivery_count) == (accepted.event_id, RECEIVED, "msg-17", 4)
    assert bytes(event.data) == json.dumps(MESSAGE, separators=(",", ":")).encode()
    assert event.occurred_at >= before
    made = deliveries(database)
    assert {row.webhook_id for row in made} == {webhook.id for webhook in taking}
    assert {(row.event_id, row.state, row.attempt_count) for row in made} == {(event.id, "ready", 0)}
    assert all(row.id.version == 7 and time_of(row.id) == time_of(event.id) for row in made)


def test_a_delivery_is_open_for_the_span_of_its_schedule_or_until_the_event_expires(
    database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url=URL)
    enqueue("a", {}, account="acme")
    expires_at = datetime.now(UTC) + timedelta(minutes=5)
    enqueue("b", {}, account="acme", expires_at=expires_at)
    first, second = deliveries(database)
    assert first.give_up_at - first.created_at == timedelta(days=2, minutes=22, seconds=30)
    assert second.give_up_at == expires_at


def test_in_scaled_time_a_delivery_is_open_for_so_much_less(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPATCHER_TIME_SCALE", "0.5")
    make_webhook(database, settings, url=URL)
    enqueue("a", {}, account="acme")
    (delivery,) = deliveries(database)
    assert delivery.give_up_at - delivery.created_at == timedelta(days=1, minutes=11, seconds=15)


def test_a_webhook_with_an_app_takes_only_its_apps_events(database: Engine, settings: Settings) -> None:
    with_app = make_webhook(database, settings, url=URL, app="shop")
    without = make_webhook(database, settings, url=URL)
    enqueue("a", {}, account="acme", app="shop")
    assert {row.webhook_id for row in deliveries(database)} == {with_app.id, without.id}
    assert enqueue("a", {}, account="acme", app="other").deliveries == 1
    assert enqueue("a", {}, account="acme").deliveries == 1


def test_an_event_that_matches_nothing_is_kept(database: Engine, settings: Settings, broker: "redis.Redis") -> None:
    make_account(database)
    assert enqueue("a", {}, account="acme").deliveries == 0
    assert [event.delivery_count for event in stored_events(database)] == [0]
    assert wakes(broker) == 0


def test_a_deleted_webhook_takes_nothing(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url=URL)
    change_webhook(database, settings, webhook, "delete")
    assert enqueue("a", {}, account="acme").deliveries == 0


def test_the_same_key_with_the_same_content_gives_the_first_event(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    first = enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="k")
    second = enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="k")
    assert second == Accepted(first.event_id, 1, repeated=True)
    assert len(stored_events(database)) == len(deliveries(database)) == 1
    make_account(database, "another")
    assert not enqueue(RECEIVED, MESSAGE, account="another", idempotency_key="k").repeated


@pytest.mark.parametrize(("variables", "hours"), [({}, 7 * 24), ({"DISPATCHER_IDEMPOTENCY_HOURS": "2"}, 2)])
def test_a_key_is_remembered_for_the_hours_that_are_set(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], hours: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    make_account(database)
    enqueue("a", {}, account="acme", idempotency_key="one")
    list(enqueue_many([Event(type="a", data={}, account="acme", idempotency_key="many")]))
    keys = rows(
        database,
        "SELECT k.expires_at - e.created_at AS kept FROM dispatcher.idempotency_keys k"
        " JOIN dispatcher.events e ON e.id = k.event_id",
    )
    assert [key.kept for key in keys] == [timedelta(hours=hours)] * 2


@pytest.mark.parametrize(
    "other",
    [
        {"type": "other"},
        {"data": {"x": 1}},
        {"subject": "s"},
        {"app": "a"},
        {"occurred_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"expires_at": datetime(2030, 1, 1, tzinfo=UTC)},
    ],
)
def test_the_same_key_with_other_content_is_refused(
    database: Engine, settings: Settings, other: dict[str, Any]
) -> None:
    make_account(database)
    content: dict[str, Any] = {"type": RECEIVED, "data": MESSAGE, "account": "acme", "idempotency_key": "k"}
    enqueue(**content)
    with pytest.raises(KeyReused):
        enqueue(**{**content, **other})
    assert len(stored_events(database)) == 1


def test_a_key_that_is_forgotten_while_it_is_looked_up_is_new(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    first = enqueue("a", {}, account="acme", idempotency_key="k")
    calls: list[int] = []
    fetch = Prepared.fetch

    def forget(statement: Prepared, *given: Any) -> Any:
        calls.append(len(rows(database, "SELECT FROM dispatcher.idempotency_keys")))
        found = fetch(statement, *given)
        if len(calls) > 1:
            return found
        # After the key kept the event out, and before it was asked whose key it is: then there is no row.
        change(database, "DELETE FROM dispatcher.idempotency_keys")
        return []

    with patch.object(Prepared, "fetch", forget):
        second = enqueue("a", {}, account="acme", idempotency_key="k")
    assert calls == [1, 0]
    assert (second.repeated, second.deliveries) == (False, 1)
    assert {first.event_id, second.event_id} == {stored.id for stored in stored_events(database)}


def test_two_producers_with_one_key_at_once_make_one_event(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    start = threading.Barrier(8)
    receipts: list[Accepted] = []

    def produce() -> None:
        start.wait()
        receipts.append(enqueue(RECEIVED, MESSAGE, account="acme", idempotency_key="k"))

    threads = [threading.Thread(target=produce) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({receipt.event_id for receipt in receipts}) == 1
    assert sorted(receipt.repeated for receipt in receipts) == [False] + [True] * 7
    assert len(stored_events(database)) == len(deliveries(database)) == 1


@pytest.mark.parametrize(
    ("field", "event"),
    [
        ("type", {"type": "not a type"}),
        ("type", {"type": ""}),
        ("data", {"data": {"x": float("nan")}}),
        ("data", {"data": {"x": object()}}),
        ("data", {"data": b'{"x": NaN}'}),
        ("data", {"data": b"{"}),
        ("data", {"data": b"\xff"}),
        ("data", {"data": "\ud800"}),
        ("data", {"data": "x" * (256 * 1024)}),
        ("data", {"data": b"[" * 100_000}),
        ("subject", {"subject": "x" * 256}),
        ("subject", {"subject": "a\0b"}),
        ("idempotency_key", {"idempotency_key": "x" * 256}),
        ("idempotency_key", {"idempotency_key": ""}),
        ("app", {"app": 7}),
        ("account", {"account": None}),
        ("occurred_at", {"occurred_at": datetime(2026, 1, 1)}),  # noqa: DTZ001
        ("expires_at", {"expires_at": "tomorrow"}),
    ],
)
def test_bad_input_names_its_field_and_writes_nothing(
    database: Engine, settings: Settings, field: str, event: dict[str, Any]
) -> None:
    make_webhook(database, settings, url=URL)
    with pytest.raises(InvalidEvent) as refused:
        enqueue(**{"type": RECEIVED, "data": {}, "account": "acme", **event})
    assert refused.value.field == field
    assert refused.value.reason
    assert stored_events(database) == deliveries(database) == []


WEST, EAST = timezone(timedelta(hours=-5)), timezone(timedelta(hours=5))


@pytest.mark.parametrize("field", ["occurred_at", "expires_at"])
@pytest.mark.parametrize(
    "moment",
    [
        datetime(9999, 12, 31, 23, 59, tzinfo=WEST),  # in UTC it is in the year 10000, which Python does not have
        datetime(1, 1, 1, tzinfo=EAST),
        datetime(9999, 1, 1, tzinfo=UTC),
        datetime(1, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_time_that_could_not_be_read_again_in_every_zone_is_refused(
    database: Engine, settings: Settings, field: str, moment: datetime
) -> None:
    make_webhook(database, settings, url=URL)
    times: dict[str, Any] = {field: moment}
    with pytest.raises(InvalidEvent, match="years 2 to 9998") as refused:
        enqueue(RECEIVED, MESSAGE, account="acme", **times)
    assert refused.value.field == field
    bad, good = enqueue_many(
        Event(type=RECEIVED, data=MESSAGE, account="acme", **given) for given in (times, {"subject": "good"})
    )
    assert isinstance(bad, Refused)
    assert isinstance(bad.error, InvalidEvent)
    assert bad.error.field == field
    assert isinstance(good, Accepted)
    assert [event.subject for event in stored_events(database)] == ["good"]


def test_the_first_and_the_last_time_that_are_taken_come_back(database: Engine, settings: Settings) -> None:
    make_account(database)
    first, last = datetime(2, 1, 1, tzinfo=EAST), datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=WEST)
    enqueue(RECEIVED, MESSAGE, account="acme", occurred_at=first, expires_at=last)
    (event,) = stored_events(database)
    assert (event.occurred_at, event.expires_at) == (first, last)


def test_an_unknown_account_is_a_typed_error(database: Engine, settings: Settings) -> None:
    with pytest.raises(UnknownAccount, match="nobody"):
        enqueue(RECEIVED, MESSAGE, account="nobody", idempotency_key="k")
    assert stored_events(database) == rows(database, "SELECT * FROM dispatcher.idempotency_keys") == []


def test_the_largest_message_is_taken(database: Engine, settings: Settings) -> None:
    make_account(database)
    enqueue("a", b'"' + b"x" * (256 * 1024 - 2) + b'"', account="acme")
    assert len(stored_events(database)[0].data) == 256 * 1024


def test_ready_json_bytes_are_taken_as_they_are(database: Engine, settings: Settings) -> None:
    make_account(database)
    given = '{ "id": 634151298329219072,"price":0.0125000000000000001, "ä":"\\u00e4", "a":1,"a":2}'.encode()
    enqueue("a", given, account="acme")
    assert bytes(stored_events(database)[0].data) == given


# In the caller's transaction


def test_in_the_callers_transaction_it_is_there_and_woken_for_only_after_commit(
    database: Engine, settings: Settings, broker: "redis.Redis"
) -> None:
    make_webhook(database, settings, url=URL)
    with Session(database) as session:
        enqueue("a", {}, account="acme", session=session)
        with session.begin_nested():
            enqueue("b", {}, account="acme", session=session)
        assert (len(stored_events(database)), wakes(broker)) == (0, 0)
        session.commit()
        assert (len(stored_events(database)), wakes(broker)) == (2, 1)


def test_rolled_back_it_never_was(database: Engine, settings: Settings, broker: "redis.Redis") -> None:
    make_webhook(database, settings, url=URL)
    with Session(database) as session:
        enqueue("a", {}, account="acme", idempotency_key="k", session=session)
        session.rollback()
        session.execute(text("SELECT 1"))
        session.commit()
    assert (stored_events(database), wakes(broker)) == ([], 0)
    assert not enqueue("a", {}, account="acme", idempotency_key="k").repeated


def test_a_savepoint_that_is_rolled_back_takes_only_its_own_event(
    database: Engine, settings: Settings, broker: "redis.Redis"
) -> None:
    make_webhook(database, settings, url=URL)
    with Session(database) as session:
        enqueue("a", {}, account="acme", session=session)
        savepoint = session.begin_nested()
        enqueue("b", {}, account="acme", session=session)
        savepoint.rollback()
        session.commit()
    assert [event.type for event in stored_events(database)] == ["a"]
    assert wakes(broker) == 1


def test_a_session_can_be_used_again_and_again(database: Engine, settings: Settings, broker: "redis.Redis") -> None:
    make_webhook(database, settings, url=URL)
    with Session(database) as session:
        for _ in range(3):
            enqueue("a", {}, account="acme", session=session)
            session.commit()
            assert wakes(broker) == 1
            broker.flushall()


def test_a_refusal_leaves_the_callers_transaction_usable(database: Engine, settings: Settings) -> None:
    make_account(database)
    with Session(database) as session:
        with pytest.raises(UnknownAccount):
            enqueue("a", {}, account="nobody", session=session)
        enqueue("a", {}, account="acme", session=session)
        session.commit()
    assert len(stored_events(database)) == 1


@pytest.fixture
def other_database(settings: Settings) -> Iterator[Engine]:
    url = settings.database_url.get_secret_value()
    with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS somewhere_else"))
        connection.execute(text("CREATE DATABASE somewhere_else"))
        connection.engine.dispose()
    engine = create_engine(url.rpartition("/")[0] + "/somewhere_else")
    yield engine
    engine.dispose()


def test_a_session_on_another_database_is_refused(database: Engine, settings: Settings, other_database: Engine) -> None:
    make_account(database)
    with Session(other_database) as session, pytest.raises(WrongDatabase):
        enqueue("a", {}, account="acme", session=session)
    sqlite = create_engine("sqlite://")
    with Session(sqlite) as session, pytest.raises(WrongDatabase):
        enqueue("a", {}, account="acme", session=session)
    sqlite.dispose()


def test_a_database_that_lacks_a_migration_is_named_with_what_to_do(settings: Settings, other_database: Engine) -> None:
    url = other_database.url.render_as_string(hide_password=False)
    producer = Producer(settings.model_copy(update={"database_url": SecretStr(url)}))
    for begun in ("SELECT 1", "CREATE SCHEMA dispatcher"):  # never migrated, and by a version before this
        change(other_database, begun)
        with pytest.raises(
            Unavailable, match="not at this version's migration: run `dispatcher migrate`: the event was"
        ):
            enqueue("a", {}, account="acme", producer=producer)
    producer.close()


# Many


def test_many_events_give_one_receipt_each_in_order(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    events = [Event(type=RECEIVED, data={"n": n}, account="acme") for n in range(2_500)]
    receipts = list(enqueue_many(iter(events)))
    stored = {event.id: json.loads(bytes(event.data))["n"] for event in stored_events(database)}
    assert [stored[receipt.event_id] for receipt in receipts if isinstance(receipt, Accepted)] == list(range(2_500))
    assert len(deliveries(database)) == 2_500


def test_a_bad_event_is_refused_and_its_neighbours_go_in(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url=URL)
    enqueue("a", {"old": True}, account="acme", idempotency_key="used")
    good = Event(type="a", data={}, account="acme", idempotency_key="k")
    receipts = list(
        enqueue_many(
            [
                good,
                Event(type="no type", data={}, account="acme"),
                Event(type="a", data={}, account="nobody"),
                good,
                Event(type="a", data={"other": 1}, account="acme", idempotency_key="k"),
                Event(type="a", data={"new": True}, account="acme", idempotency_key="used"),
                Event(type="a", data={"old": True}, account="acme", idempotency_key="used"),
                Event(type="a", data={}, account="acme"),
            ]
        )
    )
    errors = [type(receipt.error) if isinstance(receipt, Refused) else None for receipt in receipts]
    assert errors == [None, InvalidEvent, UnknownAccount, None, KeyReused, KeyReused, None, None]
    first, fourth, seventh = receipts[0], receipts[3], receipts[6]
    assert isinstance(first, Accepted)
    assert fourth == Accepted(first.event_id, 1, repeated=True)
    assert isinstance(seventh, Accepted)
    assert seventh.repeated
    assert len(stored_events(database)) == 3


def test_many_are_stored_as_they_are_read(database: Engine, settings: Settings) -> None:
    make_account(database)

    def endless() -> Iterator[Event]:
        while True:
            yield Event(type="a", data={}, account="acme")

    receipts = enqueue_many(endless())
    assert isinstance(next(receipts), Accepted)
    assert len(stored_events(database)) == 1_000


def test_the_next_events_are_read_while_a_statement_runs(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(database)
    fetch, read_on, waited = Prepared.fetch, threading.Event(), []

    def fetch_later(*args: Any) -> Any:
        waited.append(read_on.wait(10))
        return fetch(*args)

    def source() -> Iterator[Event]:
        for number in range(1_001):
            if number == 1_000:
                read_on.set()
            yield Event(type="a", data={}, account="acme")

    enqueue("a", {}, account="acme")  # of an account that is new, few events are in the first statement
    monkeypatch.setattr(Prepared, "fetch", fetch_later)
    assert len(list(enqueue_many(source()))) == 1_001
    assert waited == [True, True]


def test_receipts_do_not_wait_for_an_iterable_that_is_slow(database: Engine, settings: Settings) -> None:
    make_account(database)
    told = threading.Event()
    read = 0

    def source() -> Iterator[Event]:
        nonlocal read
        for number in range(2_000):
            if number > 1_000 and not told.is_set():
                eventually(lambda: len(stored_events(database)) == 1_000)
                told.wait(0.02)
            read += 1
            yield Event(type="a", data={}, account="acme")

    receipts = enqueue_many(source())
    next(receipts)
    told.set()
    assert 1_000 < read < 1_900
    assert len([*receipts]) == 1_999
    assert len(stored_events(database)) == 2_000


@pytest.mark.parametrize("read", [1_000, 1_001])
def test_when_the_iterable_fails_what_was_stored_has_its_receipts(
    database: Engine, settings: Settings, read: int
) -> None:
    make_account(database)

    def source() -> Iterator[Event]:
        for _ in range(read):
            yield Event(type="a", data={}, account="acme")
        raise LookupError("no more")

    receipts: list[Accepted | Refused] = []
    with pytest.raises(LookupError, match="no more"):
        receipts.extend(enqueue_many(source()))
    assert len(receipts) == len(stored_events(database)) == 1_000


@pytest.mark.parametrize("how", ["SET client_encoding TO 'LATIN1'", "sql_ascii", "latin1"])
def test_a_message_is_stored_byte_for_byte_whatever_encoding_the_callers_connection_has(
    database: Engine, settings: Settings, how: str
) -> None:
    make_account(database)
    given = {} if how.startswith("SET") else {"client_encoding": how}
    engine = create_engine(settings.database_url.get_secret_value(), connect_args=given)
    with Session(engine) as session, session.begin():
        if how.startswith("SET"):
            session.execute(text(how))
        for data in ("größer", "20 € 日本", "plain"):
            enqueue("a", data, account="acme", session=session)
    engine.dispose()
    assert [bytes(event.data).decode() for event in stored_events(database)] == ['"größer"', '"20 € 日本"', '"plain"']


@pytest.mark.parametrize("by", ["fetch", "execute"])
def test_a_signal_while_a_statement_is_prepared_spoils_no_connection(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    statement, engine = (
        Prepared("interrupted", "SELECT :n", {"n": "integer"}),
        make_engine(str(database.url.render_as_string(False))),
    )

    def run() -> Any:
        if by == "execute":
            with engine.connect() as connection:
                return statement.execute(connection, {"n": 7}).scalar()
        with from_pool(engine) as connection:
            return statement.fetch(connection, {"n": 7})[0][0]

    with monkeypatch.context() as patched:
        patched.setattr(statement, "_has_run", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            run()
    assert [run(), run()] == [7, 7]
    engine.dispose()


def test_ids_of_deliveries_are_uuids_of_their_events_time_and_each_has_its_own(
    database: Engine, settings: Settings
) -> None:
    for number in range(3):
        make_webhook(database, settings, url=URL, name=str(number))
    list(enqueue_many([Event(type=RECEIVED, data={}, account="acme") for _ in range(40)]))
    ids = [row.id for row in deliveries(database)]
    assert len(ids) == 120
    assert {(id_.version, id_.variant) for id_ in ids} == {(7, RFC_4122)}
    assert {time_of(id_) for id_ in ids} == {time_of(event.id) for event in stored_events(database)}


# Waking


def test_many_calls_make_one_wake(database: Engine, settings: Settings, broker: "redis.Redis") -> None:
    make_webhook(database, settings, url=URL)
    for _ in range(20):
        enqueue("a", {}, account="acme")
    assert wakes(broker) == 1
    message = json.loads(broker.lindex("deliver", 0) or "")
    assert message["headers"]["task"] == "dispatcher.deliver"
    assert (message["headers"]["argsrepr"], message["headers"]["kwargsrepr"]) == ("()", "{}")


def test_many_events_make_one_wake_for_each_statement(
    database: Engine, settings: Settings, broker: "redis.Redis"
) -> None:
    make_webhook(database, settings, url=URL)
    receipts = enqueue_many(Event(type="a", data={}, account="acme") for _ in range(1_001))
    next(receipts)
    assert wakes(broker) == 1
    broker.flushall()
    assert len(list(receipts)) == 1_000
    assert wakes(broker) == 1


def test_a_repeated_event_wakes_nobody(database: Engine, settings: Settings, broker: "redis.Redis") -> None:
    make_webhook(database, settings, url=URL)
    enqueue("a", {}, account="acme", idempotency_key="k")
    broker.flushall()
    assert enqueue("a", {}, account="acme", idempotency_key="k").repeated
    assert len(list(enqueue_many([Event(type="a", data={}, account="acme", idempotency_key="k")]))) == 1
    assert wakes(broker) == 0


@pytest.fixture(params=["refused", "silent"])
def broken_broker(
    request: pytest.FixtureRequest, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A broker that refuses connections, or takes them and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen(50)
        monkeypatch.setenv("BROKER_URL", f"redis://:x@127.0.0.1:{listener.getsockname()[1]}/0")
        close_installations()
        yield


@pytest.mark.usefixtures("broken_broker")
def test_with_the_broker_away_events_are_accepted_within_a_bounded_time(database: Engine) -> None:
    settings = read_settings()
    make_webhook(database, settings, url=URL)
    started = datetime.now(UTC)
    for _ in range(50):
        assert enqueue("a", {}, account="acme").deliveries == 1
    # The first call finds out; the others do not even try.
    assert datetime.now(UTC) - started < timedelta(seconds=20)
    assert len(deliveries(database)) == 50


def test_a_wake_that_fails_in_any_way_is_not_the_producers_fault(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is committed by then: an error would make the producer send it again."""

    def fail(*_: object, **__: object) -> bool:
        raise LimitExceeded("too many threads at once")

    monkeypatch.setattr(Waker, "_set_flag", fail)
    make_webhook(database, settings, url=URL)
    assert enqueue("a", {}, account="acme").deliveries == 1
    with Session(database) as session:
        enqueue("a", {}, account="acme", session=session)
        session.commit()
    assert len(deliveries(database)) == 2


def test_every_error_is_a_dispatcher_error() -> None:
    assert all(issubclass(kind, DispatcherError) for kind in (InvalidEvent, KeyReused, UnknownAccount, WrongDatabase))


def test_of_many_with_one_key_that_come_together_the_first_one_counts(database: Engine, settings: Settings) -> None:
    make_account(database)
    events = [Event(type="a", data=n, account="acme", idempotency_key=f"k{n % 3}") for n in range(300)]
    receipts = list(enqueue_many(events))
    assert [isinstance(receipt, Accepted) for receipt in receipts] == [True] * 3 + [False] * 297
    assert {bytes(stored.data) for stored in stored_events(database)} == {b"0", b"1", b"2"}
