"""Engines for the product's own database connections."""

import os
import select
import weakref
from typing import Any

import psycopg2.extras
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

from dispatcher.db.error_texts import withhold_values
from dispatcher.db.odd_values import read_json, read_odd_values

psycopg2.extras.register_uuid()

_KEPT = 5

_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


def make_engine(
    database_url: str,
    *,
    application_name: str = "dispatcher",
    autocommit: bool = False,
    wait_for_disk: bool = True,
    plan_once: bool = False,
    statement_seconds: float = 60,
    lock_seconds: float | None = None,
    most_connections: int = 15,
) -> Engine:
    """A new engine, which the caller owns; safe across a fork. It opens up to `most_connections`, and keeps 5 of them
    while they are idle. With `autocommit` each statement is its own transaction, without extra round trips. Without
    `wait_for_disk` a crash of the server (not of the client) can undo transactions of the last second, but never a part
    of one. With `plan_once` a prepared statement is planned for all values, not for each use, and never to read a whole
    table: one that was small then may be large now.

    The timeouts limit how long a stuck statement or a forgotten transaction can delay others: an old snapshot makes
    every claim slower. A statement of `statement_seconds` is cancelled, and so is one that waits for a lock for
    `lock_seconds`.
    """
    options = {
        "statement_timeout": f"{statement_seconds * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": "60s",
        "timezone": "UTC",
        "jit": "off",  # many small statements: compiling one costs more than it saves
    }
    if lock_seconds is not None:
        options["lock_timeout"] = f"{lock_seconds * 1000:.0f}ms"
    if not wait_for_disk:
        options["synchronous_commit"] = "off"
    if plan_once:
        options |= {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
    engine = create_engine(
        database_url,
        isolation_level="AUTOCOMMIT" if autocommit else None,
        pool_size=_KEPT,
        max_overflow=most_connections - _KEPT,
        json_deserializer=read_json,
        use_native_hstore=False,  # otherwise each new connection asks the server for a type that nothing has
        hide_parameters=True,  # an error's text must not carry messages or secrets
        connect_args={
            "application_name": application_name,
            "client_encoding": "utf8",  # whatever the environment or the role says: messages are UTF-8
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "options": " ".join([f"-c {name}={value}" for name, value in options.items()]),
        },
    )
    event.listen(engine, "connect", read_odd_values)
    event.listen(engine, "checkout", _leave_out_closed)
    event.listen(engine, "handle_error", withhold_values)
    _engines.add(engine)
    return engine


def _leave_out_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Makes the pool replace connections that the server closed while they were idle. A good idle connection has
    nothing to read, so its socket shows this, without the round trip of a ping for every statement."""
    if not connection.closed:
        socket = select.poll()
        socket.register(connection.fileno(), select.POLLIN)
        if not socket.poll(0):
            return
    raise InvalidatePoolError("the server has closed an idle connection")


def _forget_parents_connections() -> None:
    """A forked child must neither use nor close its parent's sockets."""
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_parents_connections)
