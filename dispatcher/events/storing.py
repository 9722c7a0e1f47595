"""What storing events takes: a call of the database's function `store_v1`, and what its rows mean. It runs nothing
itself: whoever does decides on which connection, in which transaction, and for how many events at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from dispatcher.db.arrays import Element, arrays
from dispatcher.db.clock import DatabaseClock
from dispatcher.db.outages import LACKS_PARTITION, lacks_partition
from dispatcher.db.prepared import Prepared
from dispatcher.errors import AccountSuspended, DispatcherError, KeyReused, Unavailable, UnknownAccount
from dispatcher.event_types import subscriptions_taking
from dispatcher.events.event import Accepted, Event, Refused, check, content_digest, read_traceparent, serialise
from dispatcher.settings import Settings

_PLAN_SECONDS = 60  # a plan that was made for empty tables must not last
_TYPES = {
    "id": "uuid[]",
    "account": "text[]",
    "app": "text[]",
    "type": "text[]",
    "taking": "text[]",
    "subject": "text[]",
    "occurred_at": "timestamptz[]",
    "expires_at": "timestamptz[]",
    "data": "text[]",
    "raw": "bytea[]",
    "key": "text[]",
    "digest": "bytea[]",
    "traceparent": "text[]",
    "remember": "interval",
    "scale": "double precision",
}

# One round trip. The function's statements are in the newest migration that has it.
STORE = Prepared(
    "dispatcher_store",
    f"SELECT * FROM dispatcher.store_v1({', '.join(f':{name}' for name in _TYPES)})",  # noqa: S608 - constants
    _TYPES,
    plan_seconds=_PLAN_SECONDS,
)

Receipt: TypeAlias = Accepted | Refused
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


class Collector(Protocol):
    """What takes checked events in place of the database."""

    def take(self, items: Sequence[CheckedEvent], within: object | None = None) -> list[Receipt]:
        """A receipt for each. `within`: the caller's session, whose transaction they are part of."""


collectors: list[Collector] = []  # of tests: the last one gets every event of this process (`dispatcher.testing`)


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


def checked(event: Event, *, is_json: bool = False) -> CheckedEvent:
    """Raises InvalidEvent. `is_json`: the data is bytes that have been parsed."""
    check(event)
    data = serialise(event.data, is_json=is_json)
    digest = content_digest(event, data) if event.idempotency_key is not None else None
    return CheckedEvent(event, data, digest)


def checked_or_refused(event: Event) -> CheckedEvent | Refused:
    """The same, with the error as a receipt."""
    try:
        return checked(event)
    except DispatcherError as error:
        return Refused(error)


def store(items: Sequence[CheckedEvent], rules: Rules, clock: DatabaseClock, run: Run) -> list[Receipt | None]:
    """Stores events with `run`, which runs a statement and returns its rows. A receipt for each: of items with the same
    key the first is stored; the others are repetitions of it. None where the item's key was forgotten at this moment:
    it is to be stored again. Raises Unavailable if there is no partition for them."""
    asked = clock.own()
    try:
        rows = run(STORE, columns_of(items, rules, clock))
    except DBAPIError as error:
        if lacks_partition(error):
            raise Unavailable(f"not stored: {LACKS_PARTITION}") from error
        raise
    return receipts_of(items, rows, clock, asked)


def receipts_of(
    items: Sequence[CheckedEvent], rows: Sequence[Sequence[Any]], clock: DatabaseClock, asked: int
) -> list[Receipt | None]:
    """What the rows of `STORE` say of each item, as `store` returns it; it was sent when `clock.own()` was `asked`."""
    found: dict[str, Sequence[Any]] = {}
    for row in rows:
        found.setdefault(row[0], row)
    if rows:
        clock.learn(rows[0][-1], asked)
    return [_receipt(item, found.get(item.id)) for item in items]


def _receipt(item: CheckedEvent, row: Sequence[Any] | None) -> Receipt | None:
    if row is None:
        return None
    _, outcome, event_id, deliveries, _ = row
    match outcome:
        case "stored" | "repeated":
            return Accepted(UUID(event_id), deliveries, repeated=outcome == "repeated")
        case "unknown_account":
            return Refused(UnknownAccount(item.event.account))
        case "account_suspended":
            return Refused(AccountSuspended(item.event.account))
        case _:
            return Refused(KeyReused(item.event.idempotency_key or ""))


def columns_of(items: Sequence[CheckedEvent], rules: Rules, clock: DatabaseClock) -> dict[str, Any]:
    """What `STORE` is run with, by parameter. Items without an id get theirs."""
    now = clock()
    for item in items:
        item.id = item.id or clock.new_id_text()
    types = [item.event.type for item in items]
    taking = {one: " ".join(subscriptions_taking(one)) for one in dict.fromkeys(types)}  # a group has a few
    columns: dict[str, Sequence[Element]] = {
        "id": [item.id for item in items],
        "account": [item.event.account for item in items],
        "app": [item.event.app for item in items],
        "type": types,
        "taking": [taking[one] for one in types],
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
