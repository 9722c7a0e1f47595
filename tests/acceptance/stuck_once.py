"""`python -m tests.acceptance.stuck_once deliver -c 1` is `python -m workers` with a loop that makes no progress once,
in a regular expression, which keeps the interpreter; and with a watchdog that waits for 2 seconds."""

import os
import re
from pathlib import Path

from workers import watchdog
from workers.loop import DeliveryLoop

MARK = "STUCK_ONCE"  # variable: as soon as there is this file, a loop removes it and is stuck
SECONDS = 2.0

_write = DeliveryLoop._write


def _never_ends() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


def _be_stuck_once(loop: DeliveryLoop) -> None:
    mark = Path(os.environ[MARK])
    if mark.exists():
        mark.unlink()
        _never_ends()
    _write(loop)


if __name__ == "__main__":
    watchdog.LOOP_SECONDS = SECONDS
    DeliveryLoop._write = _be_stuck_once  # type: ignore[method-assign]
    from workers.__main__ import main

    main()
