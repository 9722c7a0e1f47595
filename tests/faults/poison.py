"""Deliveries that break whoever handles them: where, and how. In the rig's workers only: the product knows nothing of
this. A marker in the message, in the answer or in the URL says what happens."""

import ctypes
import functools
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

from dispatcher.transport.exchange import Reply
from tests.faults.ledgers import Harm, write_line

HARM = "STORM_HARM"  # variable: the ledger of what poison did
LEASE = "STORM_LEASE_SECONDS"  # variable: how long a claim lasts
ANSWER_HEADER = "Storm-Poison"
PATH = "/answer/"  # of receivers whose answers are poison; the marker follows


class How(StrEnum):
    """What happens."""

    EXIT = "exit"
    SEGFAULT = "segfault"
    OUT_OF_MEMORY = "out-of-memory"  # as the kernel ends a process that takes too much
    RAISE = "raise"
    MEMORY_ERROR = "memory-error"
    NUL = "nul"  # a text that the database refuses


DEADLY = frozenset({How.EXIT, How.SEGFAULT, How.OUT_OF_MEMORY})

# Of the message, wherever it goes.
IN_MESSAGES = (
    *(f"render:{how}" for how in (How.EXIT, How.SEGFAULT, How.OUT_OF_MEMORY, How.RAISE, How.MEMORY_ERROR)),
    f"batches:{How.RAISE}",
)
# Of the receiver.
IN_ANSWERS = (
    *(f"classify:{how}" for how in (How.EXIT, How.SEGFAULT, How.RAISE)),
    *(f"record:{how}" for how in (How.EXIT, How.RAISE, How.NUL)),
)
ALL = (*IN_MESSAGES, *IN_ANSWERS)


def is_deadly(poison: str) -> bool:
    return How(poison.partition(":")[2]) in DEADLY


def marker(poison: str) -> str:
    """What a poisoned message contains."""
    return f"poison={poison};"


def install() -> None:
    """Makes this process, and what it forks, fall for poison. Call it before `workers.loop` is imported."""
    names = "callbacks.batches", "claims.claims", "results.classify", "callbacks.render"
    modules: list[Any] = [import_module(f"workers.{name}") for name in names]
    batching, claiming, judging, rendering = modules
    _replace(rendering, "render", lambda claims, *_: _in_messages("render", claims))
    _replace(batching, "batches", lambda claims, *_: _in_messages("batches", claims))
    _replace(judging, "classify", _in_answer)
    _replace(rendering, "masked_headers", _in_record)
    assert claiming.CLAIM
    claiming.CLAIM = timedelta(seconds=float(os.environ[LEASE]))


def _replace(module: Any, name: str, look: Callable[..., str | None]) -> None:
    """`look` sees the arguments first. It may break whoever calls, or return what the function would."""
    function = getattr(module, name)

    @functools.wraps(function)
    def poisoned(*arguments: Any, **named: Any) -> Any:
        return look(*arguments) or function(*arguments, **named)

    setattr(module, name, poisoned)


def _in_messages(stage: str, claims: Sequence[Any]) -> None:
    begin = f"poison={stage}:".encode()
    for claim in claims:
        at = claim.data.find(begin)
        if at >= 0:
            how = claim.data[at + len(begin) : claim.data.index(b";", at)].decode()
            _happen(f"{stage}:{how}", claim.delivery_id)


def _in_answer(outcome: object, *_: object) -> None:
    headers = dict(outcome.headers) if isinstance(outcome, Reply) else {}
    poison, _blank, delivery = headers.get(ANSWER_HEADER, "").partition(" ")
    if poison.startswith("classify:"):
        _happen(poison, delivery)


def _in_record(request: Any, *_: object) -> str | None:
    poison = request.url.partition(PATH)[2]
    if not poison.startswith("record:"):
        return None
    _happen(poison, dict(request.headers).get("Dispatcher-Delivery-Id"))
    return "Name: \0"  # the database refuses it


def _happen(poison: str, delivery: str | None) -> None:
    how = How(poison.partition(":")[2])
    with Path(os.environ[HARM]).open("a") as file:
        file.write(write_line(Harm(time.monotonic(), os.getpid(), poison, delivery, how in DEADLY)))
    match how:
        case How.EXIT:
            os._exit(3)
        case How.SEGFAULT:
            ctypes.string_at(0)
        case How.OUT_OF_MEMORY:
            taken = [b"x" * 2**20 for _ in range(300)]
            os.kill(os.getpid(), signal.SIGKILL if taken else 0)
        case How.MEMORY_ERROR:
            raise MemoryError
        case How.RAISE:
            raise RuntimeError(poison)
