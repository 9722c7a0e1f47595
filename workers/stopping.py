"""How a warm shutdown reaches the loops inside the children: one byte of memory that they share with the main process.

Not an Event: a child that is killed while it holds the Event's lock would block the main process forever.
"""

import mmap

_flag = mmap.mmap(-1, 1)  # made at import, before the fork


def ask_to_stop() -> None:
    """Asks every loop of this worker to end."""
    _flag[0] = 1


def is_stopping() -> bool:
    """Whether the worker is shutting down."""
    return _flag[0] == 1
