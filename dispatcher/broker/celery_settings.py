"""How every Celery app of the product talks to the broker."""

import socket
from datetime import timedelta
from typing import Any

from dispatcher.broker.address import read_broker_url
from dispatcher.broker.clients import sentinel_options

VISIBILITY_TIMEOUT = timedelta(hours=1)  # a wake with a longer countdown would run several times
CONNECT_SECONDS = 1.0
# So that a broker that vanished without a word is noticed in 11 s: while it is only waited for, and while what was sent
# is not acknowledged. Not every system has all of them.
_VANISHED = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 8_000}


def celery_settings(url: str) -> dict[str, Any]:
    """The broker's address in Celery's words; time limits, and enough connections."""
    address = read_broker_url(url)
    options: dict[str, Any] = {
        "visibility_timeout": int(VISIBILITY_TIMEOUT.total_seconds()),
        "max_connections": 200,
        "socket_timeout": 10.0,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "socket_keepalive_options": {
            getattr(socket, name): value for name, value in _VANISHED.items() if hasattr(socket, name)
        },
        "health_check_interval": 25,
    }
    if address.master:
        options |= {"master_name": address.master, "sentinel_kwargs": sentinel_options(address, CONNECT_SECONDS)}
    return {
        "broker_url": address.kombu_url,
        "broker_use_ssl": dict(address.tls) or False,
        "broker_transport_options": options,
    }
