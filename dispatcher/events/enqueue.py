"""Takes events in: check, match, store event and deliveries in one statement, wake the workers after the commit."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection, text
from sqlalchemy import event as sqlalchemy_events
from sqlalchemy.orm import Session, SessionTransaction

from dispatcher.errors import WrongDatabase
from dispatcher.events.event import Accepted, Data, Event, Refused
from dispatcher.events.groups import needs_wake
from dispatcher.events.nearest import with_nearest_types
from dispatcher.events.storing import CheckedEvent, checked, checked_or_refused, rules_of, store_one
from dispatcher.events.thread_groups import thread_groups_of
from dispatcher.events.waiting_room import GROUP
from dispatcher.producer import Producer, default_producer

BULK = GROUP


def enqueue(
    type: str,  # noqa: A002 - the field's name, and the first argument
    data: Data,
    *,
    account: str,
    app: str | None = None,
    subject: str | None = None,
    idempotency_key: str | None = None,
    occurred_at: datetime | None = None,
    expires_at: datetime | None = None,
    traceparent: str | None = None,
    session: Session | None = None,
    producer: Producer | None = None,
) -> Accepted:
    """Stores an event and a delivery for each webhook that takes it, then wakes the workers.

    With `session` (SQLAlchemy, on the engine's database) all of it is part of the caller's transaction: a rollback
    undoes it, and the workers are woken after the commit. Without `session` it is committed when this returns. If the
    broker is unavailable, the event is still accepted, and the next sweep finds it. `producer` says which engine it
    goes to; default: that of this process's settings. A `traceparent` that is not valid is left out.

    Raises InvalidEvent (a field and why), UnknownAccount, AccountSuspended, KeyReused (the idempotency key was used
    with other content), TooBusy (thousands of events wait to be stored) or WrongDatabase; then nothing is written.
    Raises Unavailable if the database does not answer within 10 s; its text says whether the event can have been
    stored. The same key with the same content returns the first event's id with `repeated=True`. Calls of several
    threads at once share a statement and a commit.
    """
    event = Event(
        type=type,
        data=data,
        account=account,
        app=app,
        subject=subject,
        idempotency_key=idempotency_key,
        occurred_at=occurred_at,
        expires_at=expires_at,
        traceparent=traceparent,
    )
    item = checked(event)
    producer = producer or default_producer()
    if session is None:
        receipt = thread_groups_of(producer).store(item)
        (receipt,) = with_nearest_types([event], [receipt], producer)
    else:
        _check_same_database(session, producer)
        connection = session.connection()
        receipt = store_one(
            item,
            rules_of(producer.settings, utf8=False),
            producer.clock,
            lambda statement, given: connection.execute(statement.text, given).all(),
        )
        if needs_wake(receipt):
            _wake_after_commit(session, producer)
    if isinstance(receipt, Refused):
        raise receipt.error
    return receipt


def enqueue_many(events: Iterable[Event], *, producer: Producer | None = None) -> Iterator[Accepted | Refused]:
    """Stores many events, in statements of up to 1,000, each committed by itself; one receipt per event, in order.

    A refused event is left out; the others are stored. The iterable is read as the receipts are taken: while a
    statement runs, the next 1,000 events are read and checked. `producer` is as for `enqueue`.
    """
    producer = producer or default_producer()
    source = iter(events)
    piece = _checked(islice(source, BULK))
    if len(piece) < BULK:
        yield from _store(piece, producer)
        return
    with ThreadPoolExecutor(1, "dispatcher-many") as storing:
        while piece:
            stored, following, failed = storing.submit(_store, piece, producer), islice(source, BULK), None
            piece = []
            try:
                for event in following:
                    piece.append((event, checked_or_refused(event)))
                    if stored.done():  # its receipts need not wait for a source that is slow
                        break
            except Exception as error:  # noqa: BLE001 - raised after the receipts of what came before it
                failed = error
            yield from stored.result()
            if failed is not None:
                raise failed
            piece += _checked(following)


def _checked(events: Iterator[Event]) -> list[tuple[Event, CheckedEvent | Refused]]:
    return [(event, checked_or_refused(event)) for event in events]


def _store(piece: Sequence[tuple[Event, CheckedEvent | Refused]], producer: Producer) -> list[Accepted | Refused]:
    good = [item for _, item in piece if isinstance(item, CheckedEvent)]
    stored = iter(thread_groups_of(producer).store_many(good))
    receipts = [next(stored) if isinstance(item, CheckedEvent) else item for _, item in piece]
    return with_nearest_types([event for event, _ in piece], receipts, producer)


def _wake_after_commit(session: Session, producer: Producer) -> None:
    """Wakes once the session's outermost transaction commits; forgets it if that is rolled back."""
    if _PENDING_WAKES not in session.info:
        session.info[_PENDING_WAKES] = set()

        def committed(session: Session) -> None:
            # Releasing a savepoint fires this too; no one else sees the event before the outermost commit.
            if session.get_nested_transaction() is None:
                while session.info[_PENDING_WAKES]:
                    session.info[_PENDING_WAKES].pop().wake()

        def ended(session: Session, transaction: SessionTransaction) -> None:
            if transaction.parent is None:
                session.info[_PENDING_WAKES].clear()

        sqlalchemy_events.listen(session, "after_commit", committed)
        sqlalchemy_events.listen(session, "after_transaction_end", ended)
    session.info[_PENDING_WAKES].add(producer.waker)


def _check_same_database(session: Session, producer: Producer) -> None:
    """Raises WrongDatabase unless the session sees this engine's tables. Checked once per engine of the caller."""
    bind = session.get_bind()
    theirs = bind if not isinstance(bind, Connection) else bind.engine
    if theirs in producer.engines_of_callers:
        return
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        raise WrongDatabase("the session given is not on PostgreSQL, so not on the engine's database")
    present = connection.scalar(text("SELECT to_regprocedure('dispatcher.installation_id_v1()') IS NOT NULL"))
    with producer.statements.connect() as own:
        ours = own.scalar(_INSTALLATION)
    if not present or connection.scalar(_INSTALLATION) != ours:
        raise WrongDatabase(
            "the session given is not on the engine's database (DATABASE_URL): "
            "pass a session on it, or call enqueue without one after your commit"
        )
    producer.engines_of_callers.add(theirs)


_PENDING_WAKES = "dispatcher: wakers to be used after the commit"
_INSTALLATION = text("SELECT dispatcher.installation_id_v1()")
