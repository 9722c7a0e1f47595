"""Takes events in: validate, match, store event and deliveries in one statement, wake the workers after commit."""
# ruff: noqa: S608 - composed of constants

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Result, text
from sqlalchemy import event as sqlalchemy_events
from sqlalchemy.orm import Session, SessionTransaction

from dispatcher.db.arrays import Element, arrays
from dispatcher.db.prepared import Prepared
from dispatcher.deliveries.opening import DUE_AT, GIVE_UP_AT, STATE
from dispatcher.errors import AccountSuspended, DispatcherError, KeyReused, UnknownAccount, WrongDatabase
from dispatcher.event_types import subscriptions_taking
from dispatcher.events.event import Accepted, Data, Event, Refused, check, content_digest, serialise
from dispatcher.events.nearest import with_nearest_types
from dispatcher.ids import new_id_text
from dispatcher.producer import Producer, default_producer

BULK = 1_000

# One round trip: keys first (a key that exists keeps its event out), then the fan-out. It only inserts; it updates
# nothing that is shared. A delivery's id is a UUIDv7 of its event's millisecond.
_STORE = f"""
WITH input AS (
  SELECT i.*, a.id AS account_id, a.number AS account_no, a.suspended_at IS NOT NULL AS suspended
  FROM unnest(CAST(:id AS uuid[]), CAST(:account AS text[]), CAST(:app AS text[]), CAST(:type AS text[]),
              CAST(:taking AS text[]), CAST(:subject AS text[]), CAST(:occurred_at AS timestamptz[]),
              CAST(:expires_at AS timestamptz[]), CAST(:data AS bytea[]), CAST(:key AS text[]),
              CAST(:digest AS bytea[]))
       AS i(id, account, app, type, taking, subject, occurred_at, expires_at, data, key, digest)
  LEFT JOIN dispatcher.accounts a ON a.name = i.account AND a.deleted_at IS NULL),
keyed AS (
  INSERT INTO dispatcher.idempotency_keys (account_id, key, event_id, digest, expires_at)
  SELECT account_id, key, id, digest, now() + :remember FROM input
  WHERE key IS NOT NULL AND account_id IS NOT NULL AND NOT suspended ORDER BY account_id, key
  ON CONFLICT DO NOTHING RETURNING event_id),
fresh AS (
  SELECT * FROM input
  WHERE account_id IS NOT NULL AND NOT suspended AND (key IS NULL OR id IN (SELECT event_id FROM keyed))),
matched AS MATERIALIZED (
  SELECT DISTINCT f.id AS event_id, f.account_no, octet_length(f.data) AS size, f.expires_at, s.webhook_id
  FROM fresh f CROSS JOIN LATERAL (
    -- Each along the index. With OR, the subscriptions of all apps would be read.
    SELECT webhook_id FROM dispatcher.subscriptions
    WHERE account_id = f.account_id AND event_type = ANY(string_to_array(f.taking, ' ')) AND app IS NULL
    UNION ALL
    SELECT webhook_id FROM dispatcher.subscriptions
    WHERE account_id = f.account_id AND event_type = ANY(string_to_array(f.taking, ' ')) AND app = f.app) s),
counted AS (
  SELECT f.id, count(m.event_id)::integer AS deliveries FROM fresh f LEFT JOIN matched m ON m.event_id = f.id
  GROUP BY f.id),
stored AS (
  INSERT INTO dispatcher.events (id, account_id, app, type, subject, occurred_at, expires_at, delivery_count, data)
  SELECT f.id, f.account_id, f.app, f.type, f.subject, f.occurred_at, f.expires_at, c.deliveries, f.data
  FROM fresh f JOIN counted c USING (id)),
opened AS (
  INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, account_no, size, state, due_at, give_up_at)
  SELECT (left(m.event_id::text, 15) || substr(gen_random_uuid()::text, 16))::uuid, m.event_id, m.webhook_id,
         m.account_no, m.size, {STATE}, {DUE_AT}, least({GIVE_UP_AT}, m.expires_at)
  FROM matched m JOIN dispatcher.webhooks w ON w.id = m.webhook_id)
SELECT i.id::text AS id, i.account_id::text AS account_id, i.suspended, c.deliveries
FROM input i LEFT JOIN counted c USING (id)
"""
_ARRAYS = ("id", "account", "app", "type", "taking", "subject", "occurred_at", "expires_at", "data", "key", "digest")
_STORE_MANY = text(_STORE)  # planned again for each thousand
_STORE_ONE = Prepared(
    "dispatcher_store",
    _STORE,
    {**dict.fromkeys(_ARRAYS, "text"), "remember": "interval", "scale": "double precision"},
)

_REPEATED = text("""
SELECT k.event_id, k.digest, coalesce(e.delivery_count, 0) AS deliveries
FROM dispatcher.idempotency_keys k LEFT JOIN dispatcher.events e ON e.id = k.event_id
WHERE k.account_id = :account_id AND k.key = :key
""")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A checked event: its id, its bytes, and the digest by which it is the same as another with its key."""

    id: str
    event: Event
    data: bytes
    digest: bytes | None


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
    session: Session | None = None,
    producer: Producer | None = None,
) -> Accepted:
    """Stores an event and a delivery for each webhook that takes it, then wakes the workers.

    With `session` (SQLAlchemy, on the engine's database) all of it is part of the caller's transaction: a rollback
    undoes it, and the workers are woken after the commit. Without `session` it is committed when this returns. If the
    broker is unavailable, the event is still accepted, and the next sweep finds it. `producer` says which engine it
    goes to; default: that of this process's settings.

    Raises InvalidEvent (a field and why), UnknownAccount, AccountSuspended, KeyReused (the idempotency key was used
    with other content) or WrongDatabase; then nothing is written. The same key with the same content returns the first
    event's id with `repeated=True`.
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
    )
    prepared = _prepare(event)
    producer = producer or default_producer()
    if session is None:
        with producer.statements.connect() as connection:
            (receipt,) = _store(connection, [prepared], producer, run=_STORE_ONE.execute)
        _wake_for([receipt], producer)
        (receipt,) = with_nearest_types([event], [receipt], producer)
    else:
        _check_same_database(session, producer)
        (receipt,) = _store(session.connection(), [prepared], producer)
        if _needs_wake(receipt):
            _wake_after_commit(session, producer)
    if isinstance(receipt, Refused):
        raise receipt.error
    return receipt


def enqueue_many(events: Iterable[Event], *, producer: Producer | None = None) -> Iterator[Accepted | Refused]:
    """Stores many events, in statements of up to 1,000, each committed by itself; one receipt per event, in order.

    A refused event is left out; the others are stored. The iterable is read as the receipts are taken. `producer` is as
    for `enqueue`.
    """
    producer = producer or default_producer()
    source = iter(events)
    while chunk := list(islice(source, BULK)):
        prepared = [_try_prepare(event) for event in chunk]
        with producer.statements.connect() as connection:
            stored = iter(_store(connection, [item for item in prepared if isinstance(item, _Prepared)], producer))
        receipts = [next(stored) if isinstance(item, _Prepared) else item for item in prepared]
        _wake_for(receipts, producer)
        yield from with_nearest_types(chunk, receipts, producer)


def _prepare(event: Event) -> _Prepared:
    check(event)
    data = serialise(event.data)
    digest = content_digest(event, data) if event.idempotency_key is not None else None
    return _Prepared(new_id_text(), event, data, digest)


def _try_prepare(event: Event) -> _Prepared | Refused:
    try:
        return _prepare(event)
    except DispatcherError as error:
        return Refused(error)


def _run(connection: Connection, parameters: Mapping[str, Any]) -> Result[Any]:
    return connection.execute(_STORE_MANY, parameters)


def _store(
    connection: Connection,
    items: Sequence[_Prepared],
    producer: Producer,
    run: Callable[[Connection, Mapping[str, Any]], Result[Any]] = _run,
) -> list[Accepted | Refused]:
    """Stores what is new. A key that occurs twice in one call is resolved like any other repetition."""
    firsts: dict[tuple[str, str], _Prepared] = {}
    for item in items:
        if item.event.idempotency_key is not None:
            firsts.setdefault((item.event.account, item.event.idempotency_key), item)
    fresh = [item for item in items if item is firsts.get(_key(item), item)]
    rows = {row.id: row for row in run(connection, _columns(fresh, producer))} if fresh else {}
    return [
        _receipt(connection, item, rows.get(firsts.get(_key(item), item).id), item.id in rows, producer)
        for item in items
    ]


def _key(item: _Prepared) -> tuple[str, str]:
    return item.event.account, item.event.idempotency_key or ""


def _columns(items: Sequence[_Prepared], producer: Producer) -> dict[str, Any]:
    now = producer.clock()
    columns: dict[str, list[Element]] = {
        "id": [item.id for item in items],
        "account": [item.event.account for item in items],
        "app": [item.event.app for item in items],
        "type": [item.event.type for item in items],
        "taking": [" ".join(subscriptions_taking(item.event.type)) for item in items],
        "subject": [item.event.subject for item in items],
        "occurred_at": [item.event.occurred_at or now for item in items],
        "expires_at": [item.event.expires_at for item in items],
        "data": [item.data for item in items],
        "key": [item.event.idempotency_key for item in items],
        "digest": [item.digest for item in items],
    }
    remember = timedelta(hours=producer.settings.idempotency_hours)
    return {**arrays(columns), "remember": remember, "scale": producer.settings.time_scale}


def _receipt(connection: Connection, item: _Prepared, row: Any, sent: bool, producer: Producer) -> Accepted | Refused:
    if row.account_id is None:
        return Refused(UnknownAccount(item.event.account))
    if row.suspended:
        return Refused(AccountSuspended(item.event.account))
    if sent and row.deliveries is not None:
        return Accepted(UUID(item.id), row.deliveries, repeated=False)
    key = item.event.idempotency_key
    assert key is not None
    known = connection.execute(_REPEATED, {"account_id": row.account_id, "key": key}).first()
    if known is None:  # the key has just expired: the event is new
        return _store(connection, [item], producer)[0]
    if bytes(known.digest) != item.digest:
        return Refused(KeyReused(key))
    return Accepted(known.event_id, known.deliveries, repeated=True)


def _needs_wake(receipt: Accepted | Refused) -> bool:
    return isinstance(receipt, Accepted) and receipt.deliveries > 0 and not receipt.repeated


def _wake_for(receipts: Iterable[Accepted | Refused], producer: Producer) -> None:
    if any(_needs_wake(receipt) for receipt in receipts):
        producer.waker.wake()


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
    present = connection.scalar(text("SELECT to_regclass('dispatcher.installation') IS NOT NULL"))
    with producer.statements.connect() as own:
        ours = own.scalar(_INSTALLATION)
    if not present or connection.scalar(_INSTALLATION) != ours:
        raise WrongDatabase(
            "the session given is not on the engine's database (DATABASE_URL): "
            "pass a session on it, or call enqueue without one after your commit"
        )
    producer.engines_of_callers.add(theirs)


_PENDING_WAKES = "dispatcher: wakers to be used after the commit"
_INSTALLATION = text("SELECT id FROM dispatcher.installation")
