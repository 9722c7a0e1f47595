"""How a warm shutdown reaches the loops inside the children: one byte of memory they share with the main process.

Not an Event: its lock, left locked by a child that was killed inside it, would block the main process for ever.
"""

import mmap

_flag = mmap.mmap(-1, 1)  # made at import, before the fork


def ask_to_stop() -> None:
    """Tells every loop of this worker to end."""
    _flag[0] = 1


def is_stopping() -> bool:
    """Whether the worker is shutting down."""
    return _flag[0] == 1
