"""Engines for the product's own database connections."""

import os
import weakref
from functools import cache

import psycopg2.extras
from sqlalchemy import Engine, create_engine

psycopg2.extras.register_uuid()

_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


@cache
def engine_for(database_url: str, *, application_name: str = "dispatcher", pool_size: int = 5) -> Engine:
    """The process's engine for a URL, made at first use; sound across fork.

    The timeouts bound what one stuck statement or forgotten transaction can hold up: an old snapshot makes every
    claim slower.
    """
    engine = create_engine(
        database_url,
        pool_size=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text must not carry messages or secrets
        connect_args={
            "application_name": application_name,
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "options": "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s -c timezone=UTC",
        },
    )
    _engines.add(engine)
    return engine


def _forget_parents_connections() -> None:
    """A forked child must not talk on its parent's sockets, nor close them."""
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_parents_connections)
