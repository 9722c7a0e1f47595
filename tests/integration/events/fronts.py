"""Many callers at once, by threads or by coroutines, and the groups in which their events are stored."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from dispatcher import Accepted, Producer, aenqueue, enqueue
from dispatcher.events.async_groups import _ByLoop
from dispatcher.events.groups import Groups, Outcome
from dispatcher.events.storing import CheckedEvent
from dispatcher.events.thread_groups import ThreadGroups
from tests.process_table import eventually


class Front:
    """Calls of one kind. `call` begins one."""

    def __init__(
        self, name: str, producer: Producer, call: Callable[..., "Future[Accepted]"], waiting: Callable[[], int]
    ) -> None:
        self.name = name
        self.producer = producer
        self._call, self._waiting = call, waiting

    def call(self, data: object = 1, *, account: str = "acme", **given: Any) -> "Future[Accepted]":
        return self._call("a", data, account=account, producer=self.producer, **given)

    def call_many(self, count: int, **given: Any) -> list["Future[Accepted]"]:
        return [self.call(number, **given) for number in range(count)]

    def wait_for(self, count: int) -> None:
        """Until so many events wait for a group."""
        assert eventually(lambda: self._waiting() == count), self._waiting()


@contextmanager
def thread_front(producer: Producer) -> Iterator[Front]:
    with ThreadPoolExecutor(64) as threads:

        def waiting() -> int:
            return producer.kept[ThreadGroups]._waiting._room._count if ThreadGroups in producer.kept else 0

        yield Front("threads", producer, lambda *given, **named: threads.submit(enqueue, *given, **named), waiting)


@contextmanager
def async_front(producer: Producer) -> Iterator[Front]:
    others = set(threading.enumerate())  # an API server of other tests has such threads, too
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(*given: Any, **named: Any) -> "Future[Accepted]":
        return asyncio.run_coroutine_threadsafe(aenqueue(*given, **named), loop)

    def waiting() -> int:
        groups = producer.kept.get(_ByLoop, {}).get(loop)
        return groups._waiting._room._count if groups is not None else 0

    try:
        yield Front("asyncio", producer, call, waiting)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        producer.close()
        # Their last wake must not come to the broker of the next test.
        assert eventually(
            lambda: not any(one.name.startswith("dispatcher-") for one in set(threading.enumerate()) - others)
        )


FRONTS = {"threads": thread_front, "asyncio": async_front}


class Held:
    """The groups that were stored, by their sizes. The first one waits before its statement until it is let go."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._go = threading.Event()
        self._came = threading.Event()

    def let_go(self) -> None:
        self._go.set()

    def wait(self) -> None:
        """Until a group waits."""
        assert self._came.wait(10)

    def note(self, items: Sequence[CheckedEvent]) -> None:
        self.sizes.append(len(items))
        self._came.set()
        assert self._go.wait(20)


@contextmanager
def held_groups() -> Iterator[Held]:
    held, store, depth = Held(), Groups.store, threading.local()

    def noted(groups: Groups, items: Sequence[CheckedEvent]) -> list[Outcome]:
        if getattr(depth, "inside", False):  # a part of a group that is divided
            return store(groups, items)
        held.note(items)
        depth.inside = True
        try:
            return store(groups, items)
        finally:
            depth.inside = False

    with patch.object(Groups, "store", noted):
        try:
            yield held
        finally:
            held.let_go()
