"""Checks the servers that the environment names before anything is started, so that a dead one is reported at once."""

import socket
from urllib.parse import urlsplit

from kombu.connection import Connection as BrokerConnection
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, RedisError
from sqlalchemy import NullPool, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.db.outages import explain_outage
from dispatcher.embedded.errors import ServerAway

_DATABASE_SECONDS = 2  # libpq allows no less
_BROKER_SECONDS = 1.0


def ask_database(url: str) -> None:
    """Log in. Raises ServerAway, which names the address."""
    limits = {"connect_timeout": _DATABASE_SECONDS, "application_name": "dispatcher-up"}
    engine = create_engine(url, poolclass=NullPool, connect_args=limits)
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        why = explain_outage(error) or f"the database (DATABASE_URL) fails: {type(error).__name__}"
        place = make_url(url)
        asked = f"{place.host or 'a local socket'}{f':{place.port}' if place.port else ''}"
        raise ServerAway(why, asked, "DATABASE_URL") from None


def ask_broker(url: str) -> None:
    """Log in. Raises ServerAway, which names the address."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    limits = {"socket_timeout": _BROKER_SECONDS, "socket_connect_timeout": _BROKER_SECONDS}
    try:
        # The client would try a dead one several times, with pauses.
        socket.create_connection((host, port), timeout=_BROKER_SECONDS).close()
        with BrokerConnection(url, transport_options=limits) as connection:  # type: ignore[no-untyped-call]
            connection.channel().client.ping()
    except AuthenticationError:
        raise ServerAway(
            "the broker refuses the user or password in BROKER_URL", f"{host}:{port}", "BROKER_URL"
        ) from None
    except (OperationalError, RedisError, OSError) as error:
        why = f"the broker (BROKER_URL) does not answer: {_in_words(error)}"
        raise ServerAway(why, f"{host}:{port}", "BROKER_URL") from None


def _in_words(error: Exception) -> str:
    # The texts of the clients' own errors may contain parts of the URL.
    return error.strerror or "timed out" if isinstance(error, OSError) else type(error).__name__
