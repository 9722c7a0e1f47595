"""Stores events in groups, one statement for each, and keeps what fails from harming the rest of its group."""

from collections.abc import Iterator, Sequence
from copy import copy
from enum import Enum
from time import monotonic
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.db.outages import explain_outage, is_held_up, is_outage, may_be_done, took_too_long
from dispatcher.db.prepared import from_pool
from dispatcher.errors import Unavailable
from dispatcher.events import waiting_room
from dispatcher.events.event import Accepted
from dispatcher.events.storing import CheckedEvent, Receipt, rules_of, store
from dispatcher.producer import Producer

WAIT_SECONDS = 10.0  # how long an event waits to be stored
HUGE = 1_000  # an event for as many webhooks would keep its group waiting
_MAX_KEPT = 10_000
NEW = 100  # deliveries of an event of a kind that is not known, at least: for all that is known
KNOWN_SECONDS = 5.0  # for how long at most: webhooks are made and changed meanwhile


class Alone(Enum):
    """In place of a receipt: the event is to be stored by itself."""

    ALONE = "alone"


ALONE: Final = Alone.ALONE
Outcome: TypeAlias = Receipt | Exception | Literal[Alone.ALONE]


class Slot(waiting_room.Waiting, Protocol):
    """An event that waits for its group."""

    item: CheckedEvent


S = TypeVar("S", bound=Slot)


class Groups:
    """Stores groups of events for one producer; several threads may use it.

    In a group nothing waits long for a lock. Only an idempotency key can be locked: by a transaction that stored the
    same key and is still open. Such an event, and one for very many webhooks, is stored alone, where it keeps nobody
    waiting. A group that fails is divided, so that the event that causes it fails alone. One that takes too long has
    more deliveries than its events were expected to have, and halves of it would take long, too: all go alone.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._rules = rules_of(producer.settings, utf8=True)
        self._held: dict[tuple[str, str], float] = {}  # a key that was locked -> until when it is taken to be
        self._peaks: dict[str, int] = {}  # account -> deliveries of its largest event
        self._fan_outs: dict[tuple[str, str | None, str], int] = {}  # (account, app, type) -> those of its last one
        self._forgets_at = monotonic() + KNOWN_SECONDS

    def take(self, room: waiting_room.WaitingRoom[S]) -> list[S]:
        """The next group, by what is known now of those that wait."""
        self._forget()
        return room.take(lambda one, first: self._expected(one.item, first=first))

    def pieces(self, items: Sequence[CheckedEvent]) -> Iterator[Sequence[CheckedEvent]]:
        """The items in parts that one statement can store in a short time, by what is known when each is asked for."""
        begin = 0
        while begin < len(items):
            self._forget()
            end, expected, accounts = begin, 0, set[str]()
            while end < len(items) and expected < waiting_room.GROUP_DELIVERIES:
                account = items[end].event.account
                expected += self._expected(items[end], first=account not in accounts)
                accounts.add(account)
                end += 1
            yield items[begin:end]
            begin = end

    def goes_alone(self, item: CheckedEvent) -> bool:
        """Whether it would keep a group waiting, as far as is known."""
        if self.is_huge(item):
            return True
        return bool(self._held) and item.key is not None and self._held.get(item.key, 0.0) > monotonic()

    def is_huge(self, item: CheckedEvent) -> bool:
        """Whether it is for very many webhooks, as far as is known."""
        return self._expected(item, first=True) >= HUGE

    def store(self, items: Sequence[CheckedEvent]) -> list[Outcome]:
        """Stores a group; returns what became of each item, in order. Never raises an Exception."""
        if not items:
            return []
        try:
            receipts = self._run(self._producer.groups, items)
        except Unavailable as error:
            return [copy(error) for _ in items]
        except Exception as error:  # noqa: BLE001 - each caller gets its own
            return self._divide(items, error)
        return [ALONE if receipt is None else receipt for receipt in receipts]

    def store_alone(self, item: CheckedEvent) -> Receipt:
        """Stores one event; waits for locks. Raises the database's errors, and Unavailable if it waits too long, or if
        the database is away."""
        try:
            receipt = None
            while receipt is None:
                (receipt,) = self._run(self._producer.statements, [item])
            return receipt
        except SQLAlchemyError as error:
            if took_too_long(error):
                raise Unavailable("the database took too long to store the event: it was not stored") from error
            if is_held_up(error):
                raise Unavailable("others had its idempotency key, or a table, locked: it was not stored") from error
            raise _told(error, maybe_stored=may_be_done(error)) from error

    def _run(self, engine: Engine, items: Sequence[CheckedEvent]) -> list[Receipt | None]:
        with from_pool(engine) as connection:
            receipts = self._store(connection, items)
        self._learn(items, receipts)
        if self._producer.on_group is not None:
            self._producer.on_group(len(items))
        return receipts

    def _store(self, connection: PoolProxiedConnection, items: Sequence[CheckedEvent]) -> list[Receipt | None]:
        clock, rules = self._producer.clock, self._rules
        before = clock.offset
        try:
            return store(items, rules, clock, lambda statement, given: statement.fetch(connection, given))
        except Unavailable:
            clock.ask(connection)
            if clock.offset == before:
                raise
        for item in items:  # this machine's clock was set wrong just now, and so are the ids
            item.id = ""
        return store(items, rules, clock, lambda statement, given: statement.fetch(connection, given))

    def _divide(self, items: Sequence[CheckedEvent], error: Exception) -> list[Outcome]:
        if took_too_long(error):
            self._fan_outs.clear()
            return [ALONE] * len(items)
        if is_held_up(error):
            self._note_held([item.key for item in items if item.key is not None])
            if all(item.key is None for item in items) or len(items) == 1:
                return [ALONE] * len(items)
            # What has no key cannot have waited for one.
            rest = iter(self.store([item for item in items if item.key is None]))
            return [ALONE if item.key is not None else next(rest) for item in items]
        if len(items) == 1 or is_outage(error):
            return [_told(error, maybe_stored=may_be_done(error)) for _ in items]
        half = len(items) // 2
        return [*self.store(items[:half]), *self.store(items[half:])]

    def _note_held(self, keys: Sequence[tuple[str, str]]) -> None:
        if len(self._held) > _MAX_KEPT:
            self._held.clear()
        self._held.update(dict.fromkeys(keys, monotonic() + WAIT_SECONDS))

    def _learn(self, items: Sequence[CheckedEvent], receipts: Sequence[Receipt | None]) -> None:
        for item, receipt in zip(items, receipts, strict=True):
            if not isinstance(receipt, Accepted) or receipt.repeated:
                continue
            account, deliveries = item.event.account, receipt.deliveries
            self._fan_outs[_kind(item)] = deliveries
            if deliveries > self._peaks.get(account, 1):
                self._peaks[account] = deliveries
        for kept in (self._peaks, self._fan_outs):
            if len(kept) > _MAX_KEPT:
                kept.clear()

    def _forget(self) -> None:
        if (now := monotonic()) >= self._forgets_at:
            self._fan_outs.clear()
            self._forgets_at = now + KNOWN_SECONDS

    def _expected(self, item: CheckedEvent, *, first: bool) -> int:
        """How many deliveries it will probably have: as many as the last one of its kind. Of a kind that is not known,
        as many as the largest of its account, but never few: app and type are the sender's choice, so each of its
        events can be of a new kind, and the first one that many webhooks take. The `first` of its account in a group
        does no harm alone: accounts that send now and then are not held up by what is not known of them."""
        known = self._fan_outs.get(_kind(item))
        if known is not None:
            return known
        peak = self._peaks.get(item.event.account, 1)
        return peak if first else max(peak, NEW)


def _told(error: Exception, *, maybe_stored: bool) -> Exception:
    """What a caller is told of an error: one of its own, which is raised in its thread."""
    if not isinstance(error, SQLAlchemyError) or not (is_outage(error) or is_held_up(error)):
        return copy(error)
    became = "may have been stored; send it again with its key" if maybe_stored else "was not stored"
    unavailable = Unavailable(f"{explain_outage(error) or 'the database fails'}: the event {became}")
    unavailable.__cause__ = copy(error)
    return unavailable


def needs_wake(receipt: object) -> bool:
    """Whether workers have something to do because of it."""
    return isinstance(receipt, Accepted) and receipt.deliveries > 0 and not receipt.repeated


def _kind(item: CheckedEvent) -> tuple[str, str | None, str]:
    return item.event.account, item.event.app, item.event.type
