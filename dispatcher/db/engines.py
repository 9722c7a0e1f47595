"""The one place where the product connects to its database."""

import os
import select
import weakref
from typing import Any, NamedTuple

import psycopg2.extras
from sqlalchemy import URL, Engine, NullPool, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError

from dispatcher.db.error_texts import withhold_values
from dispatcher.db.odd_values import read_json, read_odd_values
from dispatcher.db.outages import ends_session
from dispatcher.db.poolers import LONGEST_IDLE, cursors_telling, mark
from dispatcher.db.silence import connecting
from dispatcher.db.urls import read_url

psycopg2.extras.register_uuid()

CONNECT_SECONDS = 3  # for each host
_KEPT = 5
_FREE_SECONDS = 5.0  # how long to wait for a connection while others have all of them
_SILENCE = 9 / 8  # of the time that may be taken: the server should have cancelled a statement by then


class Limits(NamedTuple):
    """Seconds that a statement may take, and that it may wait for a lock (0: for ever); and what its commit may take
    besides: the server does not limit that."""

    statement: float
    lock: float = 0
    commit: float = 0


REQUESTS = Limits(8, 8)  # whoever asks has an answer within 10 s, whatever the database does
MAINTENANCE = Limits(25, 5)  # a server that is gone is noticed within 30 s
TABLES = Limits(0, 0)  # an index of a large table can take hours; each step sets its own limit for locks

# How soon the kernel notices a server that is gone: an idle connection after 11 s, unacknowledged data after 8.
# What DATABASE_URL says comes before these.
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8_000,
    "target_session_attrs": "read-write",  # after a fail-over the old server may be back, read-only
}

# So that the server notices a client that is gone, and frees what that had locked. Behind a pooler, that is the client.
_KEEPALIVES = {"tcp_keepalives_idle": "10s", "tcp_keepalives_interval": "5s", "tcp_keepalives_count": "3"}


def make_engine(
    database_url: str,
    *,
    application_name: str = "dispatcher",
    autocommit: bool = False,
    wait_for_disk: bool = True,
    plan_once: bool = False,
    limits: Limits = REQUESTS,
    pooler: bool = False,
    connect_seconds: int = CONNECT_SECONDS,
    most_connections: int = 15,
) -> Engine:
    """A new engine, which the caller owns; safe across a fork. It opens up to `most_connections`, and keeps 5 of them
    while they are idle; with 0, each use has a connection of its own. With `autocommit` each statement is its own
    transaction, without extra round trips. Without `wait_for_disk` a crash of the server (not of the client) can undo
    transactions of the last second, but never a part of one. With `plan_once` a prepared statement is planned for all
    values, not for each use, and never to read a whole table: one that was small then may be large now.

    The limits say how long a stuck statement or a forgotten transaction can delay others: an old snapshot makes every
    claim slower. A connection that waits for longer is lost: its server is silent. With `pooler` the URL may lead to
    one: then nothing is kept in a session.
    """
    session = {
        "statement_timeout": f"{limits.statement * 1000:.0f}ms",
        "lock_timeout": f"{limits.lock * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": LONGEST_IDLE,
        "timezone": "UTC",
        "jit": "off",  # many small statements: compiling one costs more than it saves
    }
    if not wait_for_disk:
        session["synchronous_commit"] = "off"
    if plan_once:
        session |= {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
    url = read_url(database_url)
    longest = (limits.statement + limits.commit) * _SILENCE or float("inf")
    connecting_so: dict[str, Any] = {
        "options": _options(url, session | _KEEPALIVES),
        "connection_factory": connecting(longest),
    }
    if pooler:
        connecting_so = {"connection_factory": connecting(longest, cursors_telling(session))}
    pool: dict[str, Any] = {"poolclass": NullPool}
    if most_connections:
        pool = {"pool_size": _KEPT, "max_overflow": most_connections - _KEPT, "pool_timeout": _FREE_SECONDS}
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT" if autocommit else None,
        json_deserializer=read_json,
        use_native_hstore=False,  # otherwise each new connection asks the server for a type that nothing has
        hide_parameters=True,  # an error's text must not carry messages or secrets
        connect_args={
            **_wanted(url, {**_DEFAULTS, "connect_timeout": connect_seconds}),
            "application_name": application_name,
            "client_encoding": "utf8",  # whatever the environment or the role says: messages are UTF-8
            **connecting_so,
        },
        **pool,
    )
    event.listen(engine, "connect", read_odd_values)
    if pooler:
        event.listen(engine, "connect", mark)
    event.listen(engine, "checkout", _leave_out_closed)
    event.listen(engine, "handle_error", withhold_values)
    event.listen(engine, "handle_error", _drop_useless)
    _engines.add(engine)
    return engine


def _wanted(url: URL, defaults: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in defaults.items() if name not in url.query}


def _options(url: URL, session: dict[str, str]) -> str:
    """What the URL says comes first, so ours is what holds."""
    return " ".join([*url.normalized_query.get("options", ()), *(f"-c {name}={is_}" for name, is_ in session.items())])


def _leave_out_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Makes the pool replace connections that the server closed while they were idle. A good idle connection has
    nothing to read, so its socket shows this, without the round trip of a ping for every statement."""
    if not connection.closed:
        socket = select.poll()
        socket.register(connection.fileno(), select.POLLIN)
        if not socket.poll(0):
            return
    raise InvalidatePoolError("the server has closed an idle connection")


def _drop_useless(context: ExceptionContext) -> None:
    """A session that cannot be used any more leaves its pool at once, with all that were opened before."""
    if ends_session(context.original_exception):
        context.is_disconnect = True


_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


def _forget_parents_connections() -> None:
    """A forked child must neither use nor close its parent's sockets."""
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_parents_connections)
