"""Group commit for asyncio: what comes while a statement runs goes into the next one."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import zip_longest
from threading import Lock
from time import monotonic, sleep

from dispatcher.accounts.fair_turns import FairTurns, Turn
from dispatcher.errors import Unavailable
from dispatcher.events.groups import ALONE, WAIT_SECONDS, Groups, Outcome, needs_wake
from dispatcher.events.storing import CheckedEvent, Receipt
from dispatcher.events.thread_groups import MAYBE_STORED, NOT_STORED
from dispatcher.events.waiting_room import Room, WaitingRoom
from dispatcher.producer import Producer

ALONE_AT_ONCE = 8
# Seconds from one wake to the next, which stands for all that is committed until then. Events of 200 a second do not
# wait for theirs.
_WAKE_EVERY = 0.004


class _Slot:
    """One caller that waits for its outcome."""

    __slots__ = ("account", "answer", "item", "size")

    def __init__(self, item: CheckedEvent, answer: asyncio.Future[Outcome]) -> None:
        self.item, self.account, self.size, self.answer = item, item.event.account, len(item.data), answer


class AsyncGroups:
    """Stores events for the coroutines of one event loop; a thread runs the statements. A lone caller does not wait."""

    def __init__(self, producer: Producer) -> None:
        self.loop = asyncio.get_running_loop()
        self._groups = Groups(producer)
        self._waiting: WaitingRoom[_Slot] = WaitingRoom()
        self._lock = Lock()  # for what the event loop and the writing thread share: what waits, and whether it writes
        self._writes = False
        self._writer = ThreadPoolExecutor(1, "dispatcher-groups")
        self._alone = ThreadPoolExecutor(ALONE_AT_ONCE, "dispatcher-alone")
        self._turns: FairTurns[asyncio.Future[None]] = FairTurns(ALONE_AT_ONCE)
        self._alone_room = Room()
        self.wakes = Wakes(producer)

    async def store(self, item: CheckedEvent) -> Receipt:
        """Stores an event, after which the workers are woken; returns when it is committed. Raises TooBusy,
        Unavailable, and the database's errors. If it is cancelled, the event may be stored or not."""
        outcome: Outcome = ALONE if self._groups.goes_alone(item) else await self._store_in_group(item)
        if outcome is ALONE:
            outcome = await self._store_alone(item)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """Ends the threads, after what they do at the moment."""
        for executor in (self._writer, self._alone):
            executor.shutdown(wait=False)
        self.wakes.close()

    async def _store_in_group(self, item: CheckedEvent) -> Outcome:
        slot = _Slot(item, self.loop.create_future())
        with self._lock:
            self._waiting.add(slot)
            begins, self._writes = not self._writes, True
        if begins:  # what else comes in this turn of the loop goes along
            self.loop.call_soon(self._begin_writing)
        timer = self.loop.call_later(WAIT_SECONDS, self._expire, slot)
        try:
            return await slot.answer
        finally:
            timer.cancel()
            if slot.answer.cancelled():
                self._remove(slot)

    def _expire(self, slot: _Slot) -> None:
        if not slot.answer.done():
            slot.answer.set_result(Unavailable(NOT_STORED if self._remove(slot) else MAYBE_STORED))

    def _remove(self, slot: _Slot) -> bool:
        with self._lock:
            return self._waiting.remove(slot)

    def _begin_writing(self) -> None:
        try:
            self._writer.submit(self._write)
        except RuntimeError:  # no thread can be started: the next one to come has another try
            self._writes = False
            raise

    def _write(self) -> None:
        """In the writing thread: stores groups until nothing waits."""
        try:
            while group := self._take():
                self._store(group)
        except BaseException:
            self._writes = False  # so that the next one to come has another try
            raise

    def _take(self) -> list[_Slot]:
        with self._lock:
            group = self._groups.take(self._waiting)
            self._writes = bool(group)
            return group

    def _store(self, group: Sequence[_Slot]) -> None:
        outcomes: Sequence[Outcome] = ()
        try:
            outcomes = self._groups.store([slot.item for slot in group])
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self.loop.call_soon_threadsafe(_answer, group, outcomes)
        if any(map(needs_wake, outcomes)):
            self.wakes.soon()

    async def _store_alone(self, item: CheckedEvent) -> Receipt:
        place = item.event.account, len(item.data)
        self._alone_room.enter(*place)
        try:
            return await self._store_in_turn(item)
        finally:
            self._alone_room.leave(*place)

    async def _store_in_turn(self, item: CheckedEvent) -> Receipt:
        turn = Turn(item.event.account, doubtful=self._groups.is_huge(item))
        may_begin = self.loop.create_future()
        self._turns.wait(turn, may_begin)
        self._next_alone()
        timer = self.loop.call_later(WAIT_SECONDS, _give_up, may_begin)
        try:
            await may_begin
        except BaseException:
            if may_begin.done() and not may_begin.cancelled() and may_begin.exception() is None:
                self._end_alone(turn)
            raise
        finally:
            timer.cancel()
            self._turns.leave(turn, may_begin)
        try:
            work = self.loop.run_in_executor(self._alone, self._store_and_wake, item)
        except RuntimeError:  # no thread can be started
            self._end_alone(turn)
            raise
        work.add_done_callback(lambda _: self._end_alone(turn))
        return await asyncio.shield(work)

    def _store_and_wake(self, item: CheckedEvent) -> Receipt:
        receipt = self._groups.store_alone(item)
        if needs_wake(receipt):
            self.wakes.soon()
        return receipt

    def _next_alone(self) -> None:
        while begun := self._turns.take():
            turn, may_begin = begun
            if may_begin.done():
                self._turns.end(turn)
            else:
                may_begin.set_result(None)

    def _end_alone(self, turn: Turn) -> None:
        self._turns.end(turn)
        self._next_alone()


class Wakes:
    """Wakes the workers after commits, in a thread of its own: the broker may be slow."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._thread = ThreadPoolExecutor(1, "dispatcher-wakes")
        self._asked = False

    def soon(self) -> None:
        """Many commits share a wake: it must come after them, so who commits once it has begun asks again."""
        if not self._asked:
            self._asked = True
            try:
                self._thread.submit(self._wake)
            except RuntimeError:  # it has ended, or cannot begin: the sweep finds the work
                self._asked = False

    def close(self) -> None:
        """Ends the thread, after the wakes that were asked for."""
        self._thread.shutdown(wait=False)

    def _wake(self) -> None:
        self._asked, began = False, monotonic()
        self._producer.waker.wake()
        sleep(max(0.0, began + _WAKE_EVERY - monotonic()))


def _answer(group: Sequence[_Slot], outcomes: Sequence[Outcome]) -> None:
    for slot, outcome in zip_longest(group, outcomes):
        if not slot.answer.done():  # its caller may have gone
            slot.answer.set_result(outcome or Unavailable(MAYBE_STORED))


def _give_up(may_begin: asyncio.Future[None]) -> None:
    if not may_begin.done():
        may_begin.set_exception(Unavailable(NOT_STORED))


class _ByLoop(dict[asyncio.AbstractEventLoop, AsyncGroups]):
    """Those of one producer, each for its event loop."""

    def close(self) -> None:
        for groups in list(self.values()):
            groups.close()


def async_groups_of(producer: Producer) -> AsyncGroups:
    """The one of this producer and the running event loop."""
    by_loop: _ByLoop | None = producer.kept.get(_ByLoop)
    if by_loop is None:
        by_loop = producer.kept[_ByLoop] = _ByLoop()
        producer.on_close.append(by_loop.close)
    groups = by_loop.get(asyncio.get_running_loop())
    if groups is None:
        for loop in [loop for loop in list(by_loop) if loop.is_closed()]:
            if closed := by_loop.pop(loop, None):  # another loop's thread may do the same
                closed.close()
        groups = by_loop[asyncio.get_running_loop()] = AsyncGroups(producer)
    return groups
