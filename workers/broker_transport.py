"""Kombu's transports with one rule more: a broker that answers with an error, or takes nothing, is away.

Kombu takes such an answer for a mistake in what was asked, and Celery ends the worker with it. Here the connection
ends, and the worker tries to connect again, each time a little later. That fails until something can be written: a
master that was demoted, is still loading or is full is no broker.
"""

from typing import Any

from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError, RedisError  # noqa: A004 - the driver's

from dispatcher.broker.clients import prove_writable, without_retries

FAREWELL_SECONDS = 1.0  # for an answer to each of what a node still sends when it stops


class _Channel(redis.Channel):
    def _connparams(self, asynchronous: bool = False) -> Any:
        # After a long pause of the process, timers still use what was closed meanwhile.
        if getattr(self.connection, "client", None) is None:
            raise ConnectionError("the connection was closed")
        return super()._connparams(asynchronous)  # type: ignore[no-untyped-call] # Kombu has no types

    def hurry(self) -> None:
        """From now on only this long for an answer. Connections of before, which would wait longer, are not used."""
        for pool in (self.pool, self.async_pool):
            pool.connection_kwargs["socket_timeout"] = FAREWELL_SECONDS
            pool.reset()


class _SentinelChannel(_Channel, redis.SentinelChannel):
    sentinel_kwargs: dict[str, Any]

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        self.sentinel_kwargs = {**self.sentinel_kwargs, **without_retries()}
        return super()._sentinel_managed_pool(asynchronous)  # type: ignore[no-untyped-call]


class Transport(redis.Transport):
    """To one server."""

    Channel = _Channel
    # The last is what Kombu makes of the others where it opens a connection that was lost in between.
    connection_errors = (*redis.Transport.connection_errors, RedisError, OperationalError)

    def establish_connection(self) -> Any:
        connection = super().establish_connection()  # type: ignore[no-untyped-call]
        try:
            prove_writable(self._avail_channels[0].client)
        except Exception:
            self.close_connection(connection)  # type: ignore[no-untyped-call]
            raise
        return connection


class SentinelTransport(Transport, redis.SentinelTransport):
    """To the master that the sentinels name."""

    Channel = _SentinelChannel
    default_port = redis.SentinelTransport.default_port


def use_these() -> None:
    """In this process, all of Kombu's connections to a broker are made so."""
    here = Transport.__module__
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{here}:{Transport.__name__}"
    TRANSPORT_ALIASES["sentinel"] = f"{here}:{SentinelTransport.__name__}"
