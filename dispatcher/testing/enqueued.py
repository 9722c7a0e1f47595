"""Collects what a test enqueues: checked as in production, and stored nowhere."""

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, overload
from uuid import UUID
from weakref import WeakKeyDictionary

from dispatcher.errors import AccountSuspended, DispatcherError, KeyReused, UnknownAccount
from dispatcher.event_types import subscriptions_taking
from dispatcher.events.event import Accepted, Refused, read_traceparent
from dispatcher.events.storing import CheckedEvent, Receipt, collectors
from dispatcher.ids import new_id
from dispatcher.testing.transactions import Transactions, transactions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueuedEvent:
    """One event as it would have been stored. `body` is the message byte for byte, as receivers would get it."""

    event_id: UUID
    type: str
    account: str
    body: bytes
    app: str | None
    subject: str | None
    idempotency_key: str | None
    occurred_at: datetime | None
    expires_at: datetime | None
    traceparent: str | None
    digest: bytes | None = field(repr=False)  # by which a repeated idempotency key is known to be the same event

    @property
    def data(self) -> Any:
        """The message, as a receiver in Python reads it."""
        return json.loads(self.body)


class Enqueued(Sequence[EnqueuedEvent]):
    """The events in the order in which they were enqueued; those of a transaction of yours once it is
    committed.

    `accounts` are those that exist; None: any. `suspended` are those that take no events. `error`, if it is set, is
    raised by all that is enqueued from then on, as the database being away would: `Unavailable("...")`. All three can
    be set at any time.
    """

    def __init__(self) -> None:
        self.accounts: Collection[str] | None = None
        self.suspended: Collection[str] = ()
        self.error: DispatcherError | None = None
        self._lock = threading.RLock()
        self._events: list[EnqueuedEvent] = []
        self._transactions: WeakKeyDictionary[Any, Transactions] = WeakKeyDictionary()

    def find(
        self,
        type: str = "*",  # noqa: A002 - the field's name
        *,
        subject: str | None = None,
        account: str | None = None,
        app: str | None = None,
    ) -> list[EnqueuedEvent]:
        """The events that a webhook which subscribes to `type` would take: of this type, or below this prefix of whole
        parts; `*`: all. Those with this subject, account and app, where they are given."""
        return [
            one
            for one in self
            if type in subscriptions_taking(one.type)
            and subject in {None, one.subject}
            and account in {None, one.account}
            and app in {None, one.app}
        ]

    def one(
        self,
        type: str = "*",  # noqa: A002 - the field's name
        *,
        subject: str | None = None,
        account: str | None = None,
        app: str | None = None,
    ) -> EnqueuedEvent:
        """The only event that `find` finds. Raises AssertionError, which lists all events, if there is another number
        of them."""
        found = self.find(type, subject=subject, account=account, app=app)
        wanted = _words(type, account, app, subject)
        assert len(found) == 1, f"{len(found)} events are {wanted}, not one; enqueued: {self._listed()}"
        return found[0]

    def none(
        self,
        type: str = "*",  # noqa: A002 - the field's name
        *,
        subject: str | None = None,
        account: str | None = None,
        app: str | None = None,
    ) -> None:
        """Raises AssertionError, which lists all events, if `find` finds any."""
        found = self.find(type, subject=subject, account=account, app=app)
        wanted = _words(type, account, app, subject)
        assert not found, f"{len(found)} events are {wanted}, not none; enqueued: {self._listed()}"

    def clear(self) -> None:
        """Forgets what was enqueued, and the idempotency keys."""
        with self._lock:
            self._events.clear()

    @overload
    def __getitem__(self, index: int) -> EnqueuedEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[EnqueuedEvent]: ...
    def __getitem__(self, index: int | slice) -> EnqueuedEvent | Sequence[EnqueuedEvent]:
        with self._lock:
            return self._events[index]

    def __len__(self) -> int:
        with self._lock:
            return len(self._events)

    def __repr__(self) -> str:
        return f"<Enqueued: {self._listed()}>"

    def take(self, items: Sequence[CheckedEvent], within: object | None = None) -> list[Receipt]:
        """What `enqueue` calls in place of storing. Raises InvalidEvent for a connection of an unknown kind."""
        with self._lock:
            if self.error is not None:
                raise self.error
            if within is None:
                return [self._receipt(item, self._events, self._keep) for item in items]
            until = transactions_of(within, self._keep, self._transactions)
            return [self._receipt(item, chain(self._events, until), until.add) for item in items]

    def _keep(self, event: EnqueuedEvent) -> None:
        with self._lock:
            self._events.append(event)

    def _receipt(
        self, item: CheckedEvent, known: Iterable[EnqueuedEvent], keep: Callable[[EnqueuedEvent], None]
    ) -> Receipt:
        given = item.event
        if self.accounts is not None and given.account not in self.accounts:
            return Refused(UnknownAccount(given.account))
        if given.account in self.suspended:
            return Refused(AccountSuspended(given.account))
        if item.key is not None:
            for one in known:
                if (one.account, one.idempotency_key) == item.key:
                    if one.digest != item.digest:
                        return Refused(KeyReused(item.key[1]))
                    return Accepted(one.event_id, 1, repeated=True)
        event = EnqueuedEvent(
            event_id=new_id(),
            type=given.type,
            account=given.account,
            body=item.data,
            app=given.app,
            subject=given.subject,
            idempotency_key=given.idempotency_key,
            occurred_at=given.occurred_at,
            expires_at=given.expires_at,
            traceparent=read_traceparent(given.traceparent),
            digest=item.digest,
        )
        keep(event)
        return Accepted(event.event_id, 1, repeated=False)

    def _listed(self) -> str:
        return "; ".join(_words(one.type, one.account, one.app, one.subject) for one in self) or "nothing"


def _words(type_: str, account: str | None, app: str | None, subject: str | None) -> str:
    named = {"account": account, "app": app, "subject": subject}
    return " ".join([type_, *(f"{name}={value!r}" for name, value in named.items() if value is not None)])


@contextmanager
def collecting() -> Iterator[Enqueued]:
    """Until the block ends, `enqueue`, `aenqueue` and `enqueue_many` of this process store nothing and connect to
    nothing: what they are given is checked and collected. Which producer they are given makes no difference."""
    enqueued = Enqueued()
    collectors.append(enqueued)
    try:
        yield enqueued
    finally:
        collectors.remove(enqueued)
