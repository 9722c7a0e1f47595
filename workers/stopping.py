"""How a warm shutdown reaches the loops inside the children: one byte of memory that they share with the main process.

Not an Event: a child that is killed while it holds the Event's lock would block the main process forever.
"""

from workers.shared_memory import stop_byte


def ask_to_stop() -> None:
    """Asks every loop of this worker to end."""
    stop_byte()[0] = 1


def is_stopping() -> bool:
    """Whether the worker is shutting down."""
    return stop_byte()[0] == 1
