"""A process that asks the kernel to end it together with its parent (Linux; elsewhere this does nothing)."""

import ctypes
import os
import sys
from signal import Signals

_PR_SET_PDEATHSIG = 1
HAS_DEATH_SIGNAL = sys.platform == "linux"
_LIBC = ctypes.CDLL(None) if HAS_DEATH_SIGNAL else None


def die_with_parent(death_signal: Signals, parent: int) -> None:
    """This process gets `death_signal` when the thread that started it ends, however it ends.

    `parent` is the expected parent's process id, so that a parent that died before this call is noticed, too.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
