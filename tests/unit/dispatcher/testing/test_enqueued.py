"""`enqueued`: what a producer's test sees of what it enqueued."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from dispatcher import (
    Accepted,
    AccountSuspended,
    Event,
    InvalidEvent,
    KeyReused,
    Producer,
    Refused,
    Settings,
    Unavailable,
    UnknownAccount,
    aenqueue,
    enqueue,
    enqueue_many,
)
from dispatcher.events.storing import collectors
from dispatcher.ids import time_of
from dispatcher.testing import Enqueued, collecting

SENT = "message.outbound.sent"


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings lead anywhere: reading them, or connecting, would fail the test."""
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    monkeypatch.setattr("dispatcher.producer.default_producer", None)


@pytest.fixture
def session() -> Iterator[Session]:
    """A session on a database of the backend's own."""
    engine = create_engine("sqlite://")
    with Session(engine) as session:
        yield session
    engine.dispose()


def test_an_event_is_collected_as_it_would_be_stored(enqueued: Enqueued) -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    given = {"subject": "17", "app": "crm", "idempotency_key": "k", "occurred_at": at, "expires_at": at}
    accepted = enqueue(SENT, {"text": "é", "n": 1}, account="acme", traceparent="not valid", **given)  # type: ignore[arg-type]
    (event,) = enqueued
    assert (event.type, event.account, event.body, event.data) == (
        SENT,
        "acme",
        '{"text":"é","n":1}'.encode(),
        {"text": "é", "n": 1},
    )
    assert {name: getattr(event, name) for name in given} == given
    assert event.traceparent is None
    assert accepted == Accepted(event.event_id, deliveries=1, repeated=False)
    assert abs((datetime.now(UTC) - time_of(event.event_id)).total_seconds()) < 60


def test_coroutines_threads_and_lists_of_events_are_collected_in_order(enqueued: Enqueued) -> None:
    async def both() -> list[Accepted]:
        return [await aenqueue(SENT, n, account="acme") for n in (1, 2)]

    first = asyncio.run(both())
    receipts = list(enqueue_many(Event(type=SENT, data=n, account="acme") for n in range(3, 1203)))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: enqueue(SENT, n, account="acme"), range(20)))
    assert [event.data for event in enqueued[:1202]] == list(range(1, 1203))
    assert [one.event_id for one in [*first, *receipts]] == [event.event_id for event in enqueued[:1202]]  # type: ignore[union-attr]
    assert len(enqueued) == 1222


BAD: list[dict[str, Any]] = [
    {"type": "no type!"},
    {"data": float("nan")},
    {"data": "x" * 300_000},
    {"account": ""},
    {"subject": "s" * 256},
    {"expires_at": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is the point
]


@pytest.mark.parametrize("bad", BAD, ids="-".join)
def test_what_production_refuses_is_refused(enqueued: Enqueued, bad: dict[str, Any]) -> None:
    given: dict[str, Any] = {"type": SENT, "data": 1, "account": "acme", **bad}
    with pytest.raises(InvalidEvent) as refused:
        enqueue(**given)
    assert refused.value.field in bad
    with pytest.raises(InvalidEvent):
        asyncio.run(aenqueue(**given))
    good = Event(type=SENT, data=2, account="acme")
    one, two = enqueue_many([Event(**given), good])
    assert isinstance(one, Refused)
    assert isinstance(one.error, InvalidEvent)
    assert isinstance(two, Accepted)
    assert [event.data for event in enqueued] == [2]


def test_an_idempotency_key_is_its_accounts_and_stands_for_one_content(enqueued: Enqueued) -> None:
    first = enqueue(SENT, {"id": 1}, account="acme", idempotency_key="k")
    assert enqueue(SENT, b'{"id":1}', account="acme", idempotency_key="k") == Accepted(
        first.event_id, deliveries=1, repeated=True
    )
    assert not enqueue(SENT, {"id": 1}, account="globex", idempotency_key="k").repeated
    with pytest.raises(KeyReused):
        enqueue(SENT, {"id": 2}, account="acme", idempotency_key="k")
    with pytest.raises(KeyReused):
        asyncio.run(aenqueue(SENT, {"id": 2}, account="acme", idempotency_key="k"))
    assert len(enqueued) == 2
    enqueued.clear()
    assert not enqueue(SENT, {"id": 2}, account="acme", idempotency_key="k").repeated


def test_accounts_and_outages_are_as_the_test_says(enqueued: Enqueued) -> None:
    enqueued.accounts, enqueued.suspended = {"acme", "late"}, {"late"}
    with pytest.raises(UnknownAccount):
        enqueue(SENT, 1, account="acne")
    with pytest.raises(AccountSuspended):
        enqueue(SENT, 1, account="late")
    enqueue(SENT, 1, account="acme")
    enqueued.error = Unavailable("the database is away: the event was not stored")
    for fails in (
        lambda: enqueue(SENT, 2, account="acme"),
        lambda: asyncio.run(aenqueue(SENT, 2, account="acme")),
        lambda: list(enqueue_many([Event(type=SENT, data=2, account="acme")])),
    ):
        with pytest.raises(Unavailable):
            fails()
    assert [event.data for event in enqueued] == [1]


def test_whichever_producer_is_given_nothing_is_connected_to(enqueued: Enqueued) -> None:
    dead = Settings(database_url="postgresql://127.0.0.1:1/none", broker_url="redis://127.0.0.1:1/0")  # type: ignore[arg-type]
    other = Producer(dead)
    enqueue(SENT, 1, account="acme", producer=other)
    asyncio.run(aenqueue(SENT, 2, account="acme", producer=other))
    assert len(list(enqueue_many([Event(type=SENT, data=3, account="acme")], producer=other))) == 1
    other.close()
    assert [event.data for event in enqueued] == [1, 2, 3]


def test_events_of_a_session_come_with_its_commit(enqueued: Enqueued, session: Session) -> None:
    with session.begin():
        session.execute(text("SELECT 1"))
        enqueue(SENT, 1, account="acme", session=session, idempotency_key="k")
        assert enqueue(SENT, 1, account="acme", session=session, idempotency_key="k").repeated
        with pytest.raises(KeyReused):
            enqueue(SENT, 2, account="acme", session=session, idempotency_key="k")
        assert len(enqueued) == 0
    assert [event.data for event in enqueued] == [1]
    enqueue(SENT, 3, account="acme", session=session)  # begins a transaction of its own
    session.rollback()
    enqueue(SENT, 4, account="acme", session=session)
    session.close()
    assert [event.data for event in enqueued] == [1]
    assert not enqueue(SENT, 5, account="acme", session=session).repeated
    session.commit()
    session.commit()
    assert [event.data for event in enqueued] == [1, 5]


def test_a_savepoint_that_is_rolled_back_takes_its_events_with_it(enqueued: Enqueued, session: Session) -> None:
    with session.begin():
        enqueue(SENT, "before", account="acme", session=session)
        with session.begin_nested():
            enqueue(SENT, "released", account="acme", session=session)
        with session.begin_nested() as outer:
            with session.begin_nested():
                enqueue(SENT, "released into what is undone", account="acme", session=session)
            enqueue(SENT, "undone", account="acme", session=session, idempotency_key="k")
            outer.rollback()
        assert not enqueue(SENT, "after", account="acme", session=session, idempotency_key="k").repeated
        assert len(enqueued) == 0
    assert [event.data for event in enqueued] == ["before", "released", "after"]
    session.begin_nested()
    enqueue(SENT, "never", account="acme", session=session)
    session.rollback()
    session.commit()
    assert len(enqueued) == 3


def test_a_scoped_session_is_the_session_of_its_scope(enqueued: Enqueued) -> None:
    scoped = scoped_session(sessionmaker(create_engine("sqlite://")))
    enqueue(SENT, 1, account="acme", session=scoped)  # type: ignore[arg-type]
    assert len(enqueued) == 0
    scoped.commit()
    assert len(enqueued) == 1
    scoped.remove()


def test_events_are_found_as_webhooks_take_them(enqueued: Enqueued) -> None:
    enqueue(SENT, 1, account="acme", subject="17")
    enqueue("message.outbound.failed", 2, account="acme", subject="18", app="crm")
    enqueue("invoice.paid", 3, account="globex", subject="17")
    assert [event.data for event in enqueued.find("message.outbound")] == [1, 2]
    assert [event.data for event in enqueued.find(subject="17")] == [1, 3]
    assert enqueued.find("message.out") == []
    assert enqueued.one(SENT, subject="17").data == 1
    assert enqueued.one(app="crm").data == 2
    assert enqueued.one(account="globex").data == 3
    enqueued.none("message.outbound.bounced")


def test_what_is_not_found_is_said_with_all_that_was_enqueued(enqueued: Enqueued) -> None:
    with pytest.raises(AssertionError, match=r"^0 events are invoice\.paid, not one; enqueued: nothing$"):
        enqueued.one("invoice.paid")
    enqueue(SENT, "a secret", account="acme", subject="17")
    enqueue(SENT, "a secret", account="acme", app="crm")
    listed = "message.outbound.sent account='acme' subject='17'; message.outbound.sent account='acme' app='crm'"
    for fails, why in (
        (lambda: enqueued.one(SENT, subject="18"), f"0 events are {SENT} subject='18', not one; enqueued: {listed}"),
        (lambda: enqueued.one(SENT), f"2 events are {SENT}, not one; enqueued: {listed}"),
        (lambda: enqueued.none("message", app="crm"), f"1 events are message app='crm', not none; enqueued: {listed}"),
    ):
        with pytest.raises(AssertionError) as failed:
            fails()
        assert str(failed.value) == why
    assert repr(enqueued) == f"<Enqueued: {listed}>"


def test_the_innermost_collects_and_afterwards_nobody_does() -> None:
    with collecting() as outer, collecting() as inner:
        enqueue(SENT, 1, account="acme")
    assert (len(outer), len(inner), collectors) == (0, 1, [])
