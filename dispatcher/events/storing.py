"""What storing events takes: the statements in their order, and what their rows mean. It runs none itself: whoever does
decides on which connection, in which transaction, and for how many events at once."""
# ruff: noqa: S608 - composed of constants

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from dispatcher.db.arrays import Element, arrays
from dispatcher.db.clock import DatabaseClock
from dispatcher.db.outages import explain_outage, lacks_partition
from dispatcher.db.prepared import Prepared
from dispatcher.deliveries.opening import DUE_AT, GIVE_UP_AT, STATE
from dispatcher.errors import AccountSuspended, DispatcherError, KeyReused, Unavailable, UnknownAccount
from dispatcher.event_types import subscriptions_taking
from dispatcher.events.event import Accepted, Event, Refused, check, content_digest, read_traceparent, serialise
from dispatcher.settings import Settings

_PLAN_SECONDS = 60  # a plan that was made for empty tables must not last

# One round trip: keys first (a key that exists keeps its event out), then the fan-out. It only inserts; it updates
# nothing that is shared. Messages come as texts (`data`), because bytes (`raw`) are twice as long, and take the server
# twice as long to read. A delivery's id is a UUIDv7 with the beginning of its event's, and a hash of both ids in place
# of random bits, which take longer to make than all else.
STORE = Prepared(
    "dispatcher_store",
    f"""
WITH input AS (
  SELECT i.id, i.account, i.app, i.type, i.taking, i.subject, i.occurred_at, i.expires_at, i.key, i.digest,
         i.traceparent,
         coalesce(i.raw, convert_to(i.data, 'UTF8')) AS data, a.id AS account_id, a.number AS account_no,
         a.suspended_at IS NOT NULL AS suspended
  FROM unnest(CAST(:id AS uuid[]), CAST(:account AS text[]), CAST(:app AS text[]), CAST(:type AS text[]),
              CAST(:taking AS text[]), CAST(:subject AS text[]), CAST(:occurred_at AS timestamptz[]),
              CAST(:expires_at AS timestamptz[]), CAST(:data AS text[]), CAST(:raw AS bytea[]),
              CAST(:key AS text[]), CAST(:digest AS bytea[]), CAST(:traceparent AS text[]))
       AS i(id, account, app, type, taking, subject, occurred_at, expires_at, data, raw, key, digest, traceparent)
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
  INSERT INTO dispatcher.events (id, account_id, app, type, subject, occurred_at, expires_at, delivery_count, data,
                                 traceparent)
  SELECT f.id, f.account_id, f.app, f.type, f.subject, f.occurred_at, f.expires_at, c.deliveries, f.data, f.traceparent
  FROM fresh f JOIN counted c USING (id)),
opened AS (
  INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, account_no, size, state, due_at, give_up_at)
  SELECT encode(overlay(uuid_send(m.event_id) PLACING
                        substring(int8send(uuid_hash_extended(m.event_id, uuid_hash_extended(m.webhook_id, 0))) FROM 2)
                        FROM 10), 'hex')::uuid,
         m.event_id, m.webhook_id, m.account_no, m.size, {STATE}, {DUE_AT}, least({GIVE_UP_AT}, m.expires_at)
  FROM matched m JOIN dispatcher.webhooks w ON w.id = m.webhook_id)
SELECT i.id::text, i.account_id::text, i.suspended, c.deliveries,
       CAST(extract(epoch FROM statement_timestamp()) AS double precision)
FROM input i LEFT JOIN counted c USING (id)
""",
    {
        **dict.fromkeys(
            (
                "id",
                "account",
                "app",
                "type",
                "taking",
                "subject",
                "occurred_at",
                "expires_at",
                "data",
                "raw",
                "key",
                "digest",
                "traceparent",
            ),
            "text",
        ),
        "remember": "interval",
        "scale": "double precision",
    },
    plan_seconds=_PLAN_SECONDS,
)

# What known keys stand for; `id` is that of the event that came again.
REPEATED = Prepared(
    "dispatcher_repeated",
    """
SELECT i.id, k.event_id, k.digest, coalesce(e.delivery_count, 0)
FROM unnest(CAST(:id AS text[]), CAST(:account_id AS uuid[]), CAST(:key AS text[])) AS i(id, account_id, key)
JOIN dispatcher.idempotency_keys k ON k.account_id = i.account_id AND k.key = i.key
LEFT JOIN dispatcher.events e ON e.id = k.event_id
""",
    {"id": "text", "account_id": "text", "key": "text"},
    plan_seconds=_PLAN_SECONDS,
)

# Which of these events are there.
STORED = Prepared(
    "dispatcher_stored",
    "SELECT id::text, delivery_count FROM dispatcher.events WHERE id = ANY(CAST(:id AS uuid[]))",
    {"id": "text"},
)

Receipt: TypeAlias = Accepted | Refused
Step: TypeAlias = tuple[Prepared, Mapping[str, Any]]
Run: TypeAlias = Callable[[Prepared, Mapping[str, Any]], Sequence[Sequence[Any]]]


@dataclass(slots=True)
class CheckedEvent:
    """An event that can be stored: its bytes, and the digest by which it is the same as another with its idempotency
    key. It gets its id, with the database's time, when it is stored for the first time."""

    event: Event
    data: bytes
    digest: bytes | None
    id: str = ""

    @property
    def key(self) -> tuple[str, str] | None:
        """The idempotency key, with the account that it belongs to."""
        return (self.event.account, self.event.idempotency_key) if self.event.idempotency_key is not None else None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the installation's settings say about storing: how long keys are remembered, and the time scale; and whether
    texts are UTF-8 on the connection. On a caller's own one they can be anything."""

    remember: timedelta
    scale: float
    utf8: bool


def rules_of(settings: Settings, *, utf8: bool) -> Rules:
    """The rules of an installation."""
    return Rules(timedelta(hours=settings.idempotency_hours), settings.time_scale, utf8)


def checked(event: Event) -> CheckedEvent:
    """Raises InvalidEvent."""
    check(event)
    data = serialise(event.data)
    digest = content_digest(event, data) if event.idempotency_key is not None else None
    return CheckedEvent(event, data, digest)


def checked_or_refused(event: Event) -> CheckedEvent | Refused:
    """The same, with the error as a receipt."""
    try:
        return checked(event)
    except DispatcherError as error:
        return Refused(error)


def steps(items: Sequence[CheckedEvent], rules: Rules, clock: DatabaseClock) -> Generator[Step, Any, list[Receipt]]:
    """Yields each statement to run with its parameters, is sent its rows, and returns a receipt for each item. Of items
    with the same key the first is stored; the others are repetitions of it."""
    for item in items:
        item.id = item.id or clock.new_id_text()
    firsts: dict[tuple[str, str], CheckedEvent] = {}
    fresh = [item for item in items if item.key is None or firsts.setdefault(item.key, item) is item]
    asked = clock.own()
    rows = {row[0]: row for row in (yield STORE, _columns(fresh, rules, clock()))} if fresh else {}
    receipts: dict[str, Receipt] = {}
    known: list[tuple[CheckedEvent, str]] = []
    for item in items:
        first = item if item.key is None else firsts[item.key]
        _, account_id, suspended, deliveries, said = rows[first.id]
        if account_id is None:
            receipts[item.id] = Refused(UnknownAccount(item.event.account))
        elif suspended:
            receipts[item.id] = Refused(AccountSuspended(item.event.account))
        elif first is item and deliveries is not None:
            receipts[item.id] = Accepted(UUID(item.id), deliveries, repeated=False)
        else:
            known.append((item, account_id))
    clock.learn(said, asked)
    if known:
        receipts.update((yield from _repetitions(known, rules, clock)))
    return [receipts[item.id] for item in items]


def stored_already(items: Sequence[CheckedEvent], run: Run) -> dict[str, Receipt]:
    """The receipts of those that are in the database, by their ids: for when storing them together failed, since of its
    statements the first may have been committed."""
    rows = run(STORED, arrays({"id": [item.id for item in items if item.id]}))
    return {event_id: Accepted(UUID(event_id), deliveries, repeated=False) for event_id, deliveries in rows}


def drive(items: Sequence[CheckedEvent], rules: Rules, clock: DatabaseClock, run: Run) -> list[Receipt]:
    """Takes the steps with `run`, which runs a statement and returns its rows. Raises Unavailable if there is no
    partition for them."""
    all_steps = steps(items, rules, clock)
    rows = None
    while True:
        try:
            statement, parameters = all_steps.send(rows)
        except StopIteration as end:
            receipts: list[Receipt] = end.value
            return receipts
        try:
            rows = run(statement, parameters)
        except DBAPIError as error:
            if lacks_partition(error):
                raise Unavailable(f"not stored: {explain_outage(error)}") from error
            raise


def _repetitions(
    known: Sequence[tuple[CheckedEvent, str]], rules: Rules, clock: DatabaseClock
) -> Generator[Step, Any, dict[str, Receipt]]:
    columns: dict[str, list[Element]] = {
        "id": [item.id for item, _ in known],
        "account_id": [account_id for _, account_id in known],
        "key": [item.event.idempotency_key for item, _ in known],
    }
    receipts: dict[str, Receipt] = {}
    digests = {item.id: (item.digest, item.event.idempotency_key) for item, _ in known}
    for item_id, event_id, digest, deliveries in (yield REPEATED, arrays(columns)):
        own, key = digests[item_id]
        same = bytes(digest) == own
        receipts[item_id] = Accepted(event_id, deliveries, repeated=True) if same else Refused(KeyReused(key or ""))
    if new := [item for item, _ in known if item.id not in receipts]:  # their keys have just expired
        receipts.update(zip([item.id for item in new], (yield from steps(new, rules, clock)), strict=True))
    return receipts


def _columns(items: Sequence[CheckedEvent], rules: Rules, now: datetime) -> dict[str, Any]:
    columns: dict[str, list[Element]] = {
        "id": [item.id for item in items],
        "account": [item.event.account for item in items],
        "app": [item.event.app for item in items],
        "type": [item.event.type for item in items],
        "taking": [" ".join(subscriptions_taking(item.event.type)) for item in items],
        "subject": [item.event.subject for item in items],
        "occurred_at": [item.event.occurred_at or now for item in items],
        "expires_at": [item.event.expires_at for item in items],
        "data": [item.data.decode() if rules.utf8 or item.data.isascii() else None for item in items],
        "raw": [None if rules.utf8 or item.data.isascii() else item.data for item in items],
        "key": [item.event.idempotency_key for item in items],
        "digest": [item.digest for item in items],
        "traceparent": [read_traceparent(item.event.traceparent) for item in items],
    }
    return {**arrays(columns), "remember": rules.remember, "scale": rules.scale}
