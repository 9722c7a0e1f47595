"""How every Celery app of the product talks to the broker."""

from datetime import timedelta
from typing import Any

from dispatcher.broker.address import read_broker_url
from dispatcher.broker.clients import sentinel_options

VISIBILITY_TIMEOUT = timedelta(hours=1)  # a wake with a longer countdown would run several times
CONNECT_SECONDS = 1.0


def celery_settings(url: str) -> dict[str, Any]:
    """The broker's address in Celery's words; time limits, and enough connections."""
    address = read_broker_url(url)
    options: dict[str, Any] = {
        "visibility_timeout": int(VISIBILITY_TIMEOUT.total_seconds()),
        "max_connections": 200,
        "socket_timeout": 10.0,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }
    if address.master:
        options |= {"master_name": address.master, "sentinel_kwargs": sentinel_options(address, CONNECT_SECONDS)}
    return {
        "broker_url": address.kombu_url,
        "broker_use_ssl": dict(address.tls) or False,
        "broker_transport_options": options,
    }
