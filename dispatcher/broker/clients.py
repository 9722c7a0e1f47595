"""Connections to the broker, whatever form its URL has: all but Celery's own come from here."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dispatcher.broker.address import BrokerAddress, Login, read_broker_url

if TYPE_CHECKING:  # producers load the driver when they first need it
    from redis import Redis
    from redis.connection import ConnectionPool

OLDEST_REDIS = 6, 2
_ASKED = "dispatcher:asked"


def broker_pool(url: str, *, seconds: float) -> "ConnectionPool":
    """Connections that are made when they are first needed, each try once. Every step waits for `seconds` at most. With
    Sentinel, each new connection goes to whoever is the master then."""
    from redis import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection  # noqa: PLC0415 - see above
    from redis.sentinel import Sentinel, SentinelConnectionPool  # noqa: PLC0415

    address = read_broker_url(url)
    limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    # In the protocol in which every answer is one to a command: the bell relies on it.
    options: dict[str, Any] = {"db": address.database, "protocol": 2, **limits, **_words(address.login), **address.tls}
    if address.path:
        return ConnectionPool(UnixDomainSocketConnection, path=address.path, **options)
    options["socket_keepalive"] = True
    if address.master:
        asked = {**sentinel_options(address, seconds), **without_retries()}
        sentinels = Sentinel(address.servers, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
        return SentinelConnectionPool(address.master, sentinels, ssl=bool(address.tls), **options)  # type: ignore[no-untyped-call]
    ((host, port),) = address.servers
    return ConnectionPool(SSLConnection if address.tls else Connection, host=host, port=port, **options)


def sentinel_options(address: BrokerAddress, seconds: float) -> dict[str, Any]:
    """How sentinels are asked."""
    limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return {**limits, **_words(address.sentinel_login), "ssl": bool(address.tls), **address.tls}


def without_retries() -> Mapping[str, Any]:
    """Otherwise the driver asks a dead sentinel four times, with pauses, before it asks the next one."""
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    return {"retry": Retry(NoBackoff(), 0)}


def try_once(url: str, *, seconds: float) -> str | None:
    """Connects, writes and leaves. Raises what the driver raises. Returns why the server is too old, if it is."""
    from redis import Redis  # noqa: PLC0415 - see above

    pool = broker_pool(url, seconds=seconds)
    try:
        client = Redis(connection_pool=pool)
        prove_writable(client)
        return _too_old(client)
    finally:
        pool.disconnect()
        if (sentinels := getattr(pool, "sentinel_manager", None)) is not None:
            sentinels.close()


def prove_writable(client: "Redis") -> None:
    """Raises what the driver raises if the broker takes nothing: because it is away, a replica, full or loading."""
    client.set(_ASKED, "", px=1)


def _too_old(client: "Redis") -> str | None:
    """Celery takes back lost messages with a command of Redis 6.2 (`ZRANGE ... BYSCORE`), which every Valkey has."""
    from redis.exceptions import ResponseError  # noqa: PLC0415 - see above

    try:
        told = client.info("server")
    except ResponseError:  # a user who may not ask
        return None
    found = re.match(r"([0-9]+)\.([0-9]+)", str(told.get("redis_version", "")))
    if "valkey_version" in told or found is None or (int(found[1]), int(found[2])) >= OLDEST_REDIS:
        return None
    oldest = ".".join(map(str, OLDEST_REDIS))
    return f"BROKER_URL leads to Redis {found[0]}: {oldest} or newer is needed, or Valkey"


def _words(login: Login) -> dict[str, str | None]:
    return {"username": login.username, "password": login.password}
