"""Takes events in: check, match, store event and deliveries in one statement, wake the workers after the commit."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from dispatcher.errors import InvalidEvent
from dispatcher.events.event import Accepted, Data, Event, Refused
from dispatcher.events.nearest import with_nearest_types
from dispatcher.events.storing import CheckedEvent, checked, checked_or_refused, collectors
from dispatcher.events.thread_groups import thread_groups_of
from dispatcher.events.waiting_room import GROUP
from dispatcher.producer import Producer, default_producer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session

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
    connection: object = None,
    session: "Session | scoped_session[Any] | None" = None,
    producer: Producer | None = None,
) -> Accepted:
    """Stores an event and a delivery for each webhook that takes it, then wakes the workers.

    - `type`: dotted parts of letters, digits, `_` and `-`; at most 8 parts, 200 characters.
    - `data`: what JSON can express, of `dict`, `list`, `tuple`, `str`, `int`, `float`, `bool` and None; or ready JSON
      as `bytes`, which is sent byte for byte. At most 256 KiB as JSON.
    - `account`: its name; 1 to 255 characters. It must exist.
    - `app`: a label, of which webhooks take their own only; 1 to 255 characters. Default: none.
    - `subject`: your id or number that the event is about; 1 to 255 characters. Default: none.
    - `idempotency_key`: 1 to 255 characters. The same key with the same content returns the first event's id with
      `repeated=True`, for 7 days at least. Default: none; then each call stores an event.
    - `occurred_at`: when it happened; with a time zone, in the years 2 to 9998. Default: now.
    - `expires_at`: no attempt begins later; of the same form. Default: none.
    - `traceparent`: a place in a W3C trace; one that is not valid is left out. Default: none.
    - `connection`: yours, on the engine's database: a Session or Connection of SQLAlchemy, a connection of psycopg or
      psycopg2, or Django's. The event is part of the transaction that is open there: a rollback undoes it. SQLAlchemy
      and Django wake the workers after its commit; with psycopg and psycopg2 call `wake_workers` then, or they look
      within 5 s. Default: none; then the event is committed when this returns.
    - `session`: the same for a Session of SQLAlchemy.
    - `producer`: which engine it goes to. Default: that of this process's settings, or of `configure`.

    If the broker is unavailable, the event is still accepted, and the next sweep finds it. Calls of several threads at
    once share a statement and a commit.

    Raises InvalidEvent (a field and why), UnknownAccount, AccountSuspended, KeyReused (the idempotency key was used
    with other content), TooBusy (thousands of events wait to be stored), WrongDatabase (of the connection) or
    ConfigurationError (of the settings); then nothing is written. Raises Unavailable if the database does not answer
    within 10 s, or lacks a migration or the user's rights; its text says which, and whether the event can have been
    stored. On a connection of yours, its driver's own errors are raised, too.
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
    connection = either(connection, session)
    if collectors:
        (receipt,) = collectors[-1].take([item], connection)
    elif connection is None:
        producer = producer or default_producer()
        receipt = thread_groups_of(producer).store(item)
        (receipt,) = with_nearest_types([event], [receipt], producer)
    else:
        from dispatcher.events.in_transaction import store_in  # noqa: PLC0415 - only for those who need it

        receipt = store_in(connection, item, producer or default_producer())
    if isinstance(receipt, Refused):
        raise receipt.error
    return receipt


def either(connection: object, session: object) -> object:
    """The one that is given, if any. Raises InvalidEvent."""
    if connection is not None and session is not None:
        raise InvalidEvent("session", "is given beside `connection`: give one of them")
    return session if connection is None else connection


def wake_workers(*, producer: Producer | None = None) -> None:
    """Tells the workers that something is due: after the commit of a transaction in which `enqueue` has stored events
    on a connection of psycopg or psycopg2, whose commits it does not see. Without it they find them within 5 s. Waits
    for the broker, a few seconds at most; raises nothing if that is unavailable. `producer` is as for `enqueue`."""
    if not collectors:
        (producer or default_producer()).waker.wake()


def enqueue_many(events: Iterable[Event], *, producer: Producer | None = None) -> Iterator[Accepted | Refused]:
    """Stores many events, in statements of up to 1,000, each committed by itself; one receipt per event, in order.

    A refused event is left out; the others are stored. The iterable is read as the receipts are taken: while a
    statement runs, the next 1,000 events are read and checked. `producer` is as for `enqueue`.
    """
    to = None if collectors else producer or default_producer()
    source = iter(events)
    piece = _checked(islice(source, BULK))
    if len(piece) < BULK:
        yield from _store(piece, to)
        return
    with ThreadPoolExecutor(1, "dispatcher-many") as storing:
        while piece:
            stored, following, failed = storing.submit(_store, piece, to), islice(source, BULK), None
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


def _store(
    piece: Sequence[tuple[Event, CheckedEvent | Refused]], producer: Producer | None
) -> list[Accepted | Refused]:
    """Stores those that can be; without a producer, the collector of a test takes them."""
    good = [item for _, item in piece if isinstance(item, CheckedEvent)]
    stored = iter(collectors[-1].take(good) if producer is None else thread_groups_of(producer).store_many(good))
    receipts = [next(stored) if isinstance(item, CheckedEvent) else item for _, item in piece]
    if producer is None:
        return receipts
    return with_nearest_types([event for event, _ in piece], receipts, producer)
