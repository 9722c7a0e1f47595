"""Loops and other tasks in processes of their own, in which something goes wrong for one item: it raises an error, or
the process dies."""

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from dispatcher.ids import new_id_text
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from dispatcher.transport.exchange import Reply, Request
from dispatcher.transport.port import Transport
from dispatcher.wake import DELIVER, SUSPECTS
from tests.dead_ports import refusing_port
from tests.forked import context
from tests.installations import worker_for
from workers import shared_memory
from workers.claims.claims import Claim
from workers.claims.held_bytes import HeldBytes
from workers.loop import DeliveryLoop
from workers.process import Worker
from workers.recovery import recover
from workers.results.record import Sent

POISON = "poison"  # its event type, and part of its message
DEADLINE = datetime(2100, 1, 1, tzinfo=UTC)  # of the poison
MOST_RUNS = 12


class How(StrEnum):
    """What goes wrong."""

    ERROR = "an error"
    MEMORY = "no memory"
    EXIT = "the process ends"
    SIGKILL = "it is killed"


def go_wrong(how: str) -> None:
    match How(how):
        case How.ERROR:
            raise RuntimeError(f"a defect that tells {POISON}")
        case How.MEMORY:
            raise MemoryError
        case How.EXIT:
            os._exit(9)
        case How.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)


def is_poison(value: Any) -> bool:
    """Whether this, or something in it, belongs to the poison: a claim, an answer that echoes it, its deadline."""
    found = False
    match value:
        case Claim():
            found = value.event_type == POISON
        case Reply():
            found = POISON.encode() in value.body
        case Sent():
            found = is_poison(value.exchange.outcome)
        case datetime():
            found = value == DEADLINE
        case list() | tuple():
            found = any(map(is_poison, value))
    return found


def _spoil(place: str, how: str, marker: str | None) -> None:
    """Makes a place go wrong for the poison, or for what shows this marker."""
    owner, _, name = place.rpartition(".")
    target: Any = __import__(owner, fromlist=["_"]) if owner.startswith("workers.") and owner[8:].islower() else None
    if target is None:
        module, _, kind = owner.rpartition(".")
        target = getattr(__import__(module, fromlist=["_"]), kind)
    real = getattr(target, name)

    def wrapped(*values: Any, **named: Any) -> Any:
        given = [*values, *named.values()]
        if any(map(is_poison, given)) or (marker is not None and marker in repr(given)):
            go_wrong(how)
        return real(*values, **named)

    setattr(target, name, wrapped)


def _loop(settings: Settings, task: str, place: str, how: str, marker: str | None, memory: str) -> None:
    os.environ[shared_memory.VARIABLE] = memory
    _spoil(place, how, marker)
    installation = Installation(settings)
    with suppress(RuntimeError if how == How.ERROR else ()):
        DeliveryLoop(Worker(installation), task).run()


def _work(work: Callable[[Settings], object], settings: Settings, place: str, how: str, marker: str) -> None:
    _spoil(place, how, marker)
    with suppress(RuntimeError if how == How.ERROR else ()):
        work(settings)


def dies(work: Callable[[Settings], object], settings: Settings, place: str, how: How, marker: str) -> bool:
    """Does this work once, in a process of its own. Returns whether it died."""
    process = context.Process(target=partial(_work, work, settings, place, str(how), marker))
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("it does not end")
    return process.exitcode != 0


def _usual(settings: Settings, memory: str) -> None:
    os.environ[shared_memory.VARIABLE] = memory
    DeliveryLoop(Worker(Installation(settings))).run()


def _use(transport: Transport) -> None:
    """A first request, so that its thread and what else it begins with are there. Nobody answers it."""
    transport.send(Request(new_id_text(), "GET", f"http://127.0.0.1:{refusing_port()}/", (), None, 5, 5))
    while not transport.wait(1):
        pass


def _data_bytes() -> int:
    with open("/proc/self/status") as status:  # noqa: PTH123 - it is no file
        (used,) = (int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
    return used


def _all_that_is_free() -> list[bytes]:
    """What this process was given before and does not use: more or less from one time to the next."""
    kept = []
    for size in (65_536, 8_192, 1_024):
        before = _data_bytes()
        while _data_bytes() == before:
            kept.append(bytes(size))
    return kept


def _loop_in(settings: Settings, bytes_more: int, report: str) -> None:
    worker = Worker(Installation(settings))
    _use(worker.transport)
    worker.loop_engine.connect().close()
    kept = _all_that_is_free()
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + bytes_more, resource.RLIM_INFINITY))
    refused, real = [], HeldBytes.shrink

    def shrink(held: HeldBytes) -> bool:
        refused.append(1)
        return real(held)

    HeldBytes.shrink = shrink  # type: ignore[method-assign]
    try:
        DeliveryLoop(worker).run()
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        kept.clear()
        Path(report).write_text(str(len(refused)))


def loop_in_little_memory(settings: Settings, bytes_more: int, report: Path) -> int:
    """Runs a loop in a process that may have so many bytes more than it has at its beginning. Returns how often it was
    refused some. Raises AssertionError if the loop does not end."""
    process = context.Process(target=partial(_loop_in, settings, bytes_more, str(report)))
    process.start()
    process.join(120)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("the loop does not end")
    return int(report.read_text())


def start(settings: Settings) -> multiprocessing.process.BaseProcess:
    """Starts a loop in a process of its own."""
    process = context.Process(target=partial(_usual, settings, os.environ[shared_memory.VARIABLE]))
    process.start()
    return process


def run(
    settings: Settings,
    place: str,
    how: How,
    is_open: Callable[[], bool],
    *,
    marker: str | None = None,
    before_each: Callable[[], object] = lambda: None,
) -> int:
    """Runs loops, each in a process with the journal of the one before, until nothing is open that is due. Returns how
    many died."""
    died = 0
    worker = worker_for(settings)
    for _ in range(MOST_RUNS):
        for task in DELIVER, SUSPECTS:
            before_each()
            process = context.Process(
                target=partial(_loop, settings, task, place, str(how), marker, os.environ[shared_memory.VARIABLE])
            )
            process.start()
            process.join(60)
            if process.exitcode is None:
                process.kill()
                raise AssertionError("a loop does not end")
            died += process.exitcode != 0
            recover(worker.loop_engine, worker.journal, worker.installation.waker)
        if not is_open():
            return died
    raise AssertionError(f"after {MOST_RUNS} runs something is still open")
