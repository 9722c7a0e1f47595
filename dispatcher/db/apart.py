"""Writes what belongs together in one go, and narrows an error down to the item that causes it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from dispatcher.db.outages import is_held_up, is_outage

Item = TypeVar("Item")


def write_apart(
    connection: Connection,
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], object],
    leave: Callable[[Item, Exception], object],
) -> None:
    """Calls `write` with all items, in a savepoint of the caller's transaction. If that fails, it is called with each
    half of them, and so on, until the item that fails is alone: `leave` gets it. Raises what is the database's own:
    nothing else could be written then either."""
    if not items:
        return
    try:
        with connection.begin_nested():
            write(items)
    except Exception as error:
        if is_outage(error) or is_held_up(error):
            raise
        if len(items) == 1:
            leave(items[0], error)
            return
        middle = len(items) // 2
        for half in items[:middle], items[middle:]:
            write_apart(connection, half, write, leave)
