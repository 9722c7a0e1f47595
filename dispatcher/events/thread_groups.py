"""Group commit for threads: whoever comes while nothing is being stored leads, and stores for all who wait."""

import os
import threading
import weakref
from collections.abc import Sequence
from itertools import zip_longest

from dispatcher.errors import InvalidEvent, Unavailable
from dispatcher.events.event import Refused
from dispatcher.events.groups import ALONE, WAIT_SECONDS, Alone, Groups, Outcome, needs_wake
from dispatcher.events.storing import CheckedEvent, Receipt
from dispatcher.events.waiting_room import WaitingRoom
from dispatcher.producer import Producer

NOT_STORED = "the database did not answer in time: the event was not stored"
MAYBE_STORED = "the database did not answer in time: the event may have been stored; send it again with its key"


class _Slot:
    """One caller that waits. `turn` is released when it has an outcome, or when it is to lead."""

    __slots__ = ("account", "item", "leads", "outcome", "size", "turn")

    def __init__(self, item: CheckedEvent) -> None:
        self.item, self.account, self.size = item, item.event.account, len(item.data)
        self.outcome: Outcome | None = None
        self.leads = False
        self.turn = threading.Lock()
        self.turn.acquire()


class ThreadGroups:
    """Stores events of any number of threads, without a thread of its own. A lone caller waits for nobody."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._groups = Groups(producer)
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting: WaitingRoom[_Slot] = WaitingRoom()
        self._is_led = False
        self._here = threading.local()  # `waits`: whether this thread is in a group, or waits for one

    def store(self, item: CheckedEvent) -> Receipt:
        """Stores an event and wakes the workers; returns when it is committed. Raises TooBusy, Unavailable, and what
        the database says of the event."""
        # A signal's handler may send an event in the middle of another one of its thread: it must not wait for itself.
        alone = getattr(self._here, "waits", False) or self._groups.goes_alone(item)
        outcome: Outcome = ALONE if alone else self._store_in_group(item)
        if outcome is ALONE:
            outcome = self._groups.store_alone(item)
            if needs_wake(outcome):
                self._producer.waker.wake()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def store_many(self, items: Sequence[CheckedEvent]) -> list[Receipt]:
        """Stores up to a statement's worth of events of one caller, as `store` does; in several statements if they have
        many deliveries. Raises only what concerns all of them; an event that the database refuses has its own
        receipt."""
        receipts: list[Receipt] = []
        try:
            for piece in self._groups.pieces(items):
                for item, outcome in zip(piece, self._groups.store(piece), strict=True):
                    match outcome:
                        case Alone.ALONE:
                            receipts.append(self._groups.store_alone(item))
                        case Exception() if len(items) == 1 or isinstance(outcome, Unavailable):
                            raise outcome
                        case Exception():
                            receipts.append(Refused(InvalidEvent("event", "is refused by the database")))
                        case _:
                            receipts.append(outcome)
        finally:
            if any(map(needs_wake, receipts)):
                self._producer.waker.wake()
        return receipts

    def _store_in_group(self, item: CheckedEvent) -> Outcome:
        slot = _Slot(item)
        owes_wake = False
        self._here.waits = True
        try:
            with self._lock:
                self._waiting.add(slot)
                slot.leads, self._is_led = not self._is_led, True
            if not slot.leads:
                self._follow(slot)
            while slot.outcome is None:
                owes_wake = self._lead(slot) or owes_wake
        finally:
            self._leave(slot)
            self._here.waits = False
            if owes_wake:
                self._producer.waker.wake()
        return slot.outcome

    def _follow(self, slot: _Slot) -> None:
        """Waits until the slot has an outcome or is to lead."""
        if slot.turn.acquire(timeout=WAIT_SECONDS):
            return
        with self._lock:
            if slot.outcome is None and not slot.leads:
                raise Unavailable(NOT_STORED if self._waiting.remove(slot) else MAYBE_STORED)

    def _lead(self, slot: _Slot) -> bool:
        """Stores one group, and then gives the lead away if the slot's own event was in it. Whether workers have
        something to do."""
        with self._lock:
            group = self._groups.take(self._waiting)
        outcomes: list[Outcome] = []
        try:
            outcomes = self._groups.store([one.item for one in group])
        finally:  # whatever happens, each has an outcome, and somebody leads
            for one, outcome in zip_longest(group, outcomes):
                one.outcome = outcome or Unavailable(MAYBE_STORED)
            if slot.outcome is not None:
                self._leave(slot)
            for one in group:
                if one is not slot:
                    one.turn.release()
        return any(map(needs_wake, outcomes))

    def _leave(self, slot: _Slot) -> None:
        """The slot waits for nothing more. If it leads, the next one does."""
        with self._lock:
            if slot.outcome is None:
                self._waiting.remove(slot)
            if not slot.leads:
                return
            slot.leads, following = False, self._waiting.first()
            self._is_led = following is not None
            if following is not None:
                following.leads = True
        if following is not None:
            following.turn.release()

    def after_fork(self) -> None:
        """In a forked child: the threads that waited or led are not there."""
        self._begin()


_all: "weakref.WeakSet[ThreadGroups]" = weakref.WeakSet()


def _begin_anew() -> None:
    for groups in list(_all):
        groups.after_fork()


os.register_at_fork(after_in_child=_begin_anew)


def thread_groups_of(producer: Producer) -> ThreadGroups:
    """The one of this producer."""
    groups: ThreadGroups | None = producer.kept.get(ThreadGroups)
    return groups if groups is not None else producer.kept.setdefault(ThreadGroups, ThreadGroups(producer))
