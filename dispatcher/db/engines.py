"""Engines for the product's own database connections."""

import os
import select
import weakref
from typing import Any

import psycopg2.extras
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

from dispatcher.db.error_texts import withhold_values

psycopg2.extras.register_uuid()

_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


def make_engine(
    database_url: str,
    *,
    application_name: str = "dispatcher",
    autocommit: bool = False,
    wait_for_disk: bool = True,
) -> Engine:
    """A new engine, which belongs to whoever made it; sound across fork. With `autocommit` each statement is a
    transaction, without round trips of its own. Without `wait_for_disk` a crash of the server (not of the client) can
    undo what was committed in the last second, never a part of a transaction.

    The timeouts bound what one stuck statement or forgotten transaction can hold up: an old snapshot makes every
    claim slower.
    """
    options = {
        "statement_timeout": "60s",
        "idle_in_transaction_session_timeout": "60s",
        "timezone": "UTC",
        "jit": "off",  # many small statements: compiling one costs more than it saves
    }
    if not wait_for_disk:
        options["synchronous_commit"] = "off"
    engine = create_engine(
        database_url,
        isolation_level="AUTOCOMMIT" if autocommit else None,
        hide_parameters=True,  # an error's text must not carry messages or secrets
        connect_args={
            "application_name": application_name,
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "options": " ".join([f"-c {name}={value}" for name, value in options.items()]),
        },
    )
    event.listen(engine, "checkout", _leave_out_closed)
    event.listen(engine, "handle_error", withhold_values)
    _engines.add(engine)
    return engine


def _leave_out_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Has the pool replace connections that the server closed while they were idle. One that is fit has nothing to
    say then, so this is seen on its socket, without the round trip of a ping for every statement."""
    if not connection.closed:
        socket = select.poll()
        socket.register(connection.fileno(), select.POLLIN)
        if not socket.poll(0):
            return
    raise InvalidatePoolError("the server has closed an idle connection")


def _forget_parents_connections() -> None:
    """A forked child must not talk on its parent's sockets, nor close them."""
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_parents_connections)
