"""Where this process's log lines go, and in which form. It belongs to the process, like `logging` itself."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from dispatcher.logs.repeats import Repeats


@dataclass(slots=True)
class Output:
    """The handler of every line. `is_among_others`: lines of several processes come together in one place."""

    handler: logging.StreamHandler[TextIO]
    render: Callable[[dict[str, Any]], str]
    is_json: bool
    repeats: Repeats
    process: str
    is_among_others: bool = False


current: Output | None = None  # None: the logs are not configured


def is_configured() -> bool:
    """Whether this process's logs are: otherwise they are somebody else's, a test's for instance."""
    return current is not None


def writes_json() -> bool:
    """Whether lines are for programs."""
    return current is not None and current.is_json


def name_process(name: str, *, among_others: bool = False) -> None:
    """The name that the lines of this process have from now on."""
    if current is not None:
        current.process, current.is_among_others = name, among_others


def own_fields() -> dict[str, Any]:
    """What each line says of the process. A line about another process names that one instead."""
    if current is None:
        return {}
    if current.is_json:
        return {"process": current.process, "pid": os.getpid()}
    return {"process": current.process} if current.is_among_others else {}
