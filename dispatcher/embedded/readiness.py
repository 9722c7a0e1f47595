"""Whether a child is ready: checks that are repeated until they succeed."""

import socket
import urllib.error
import urllib.request
from collections.abc import Callable

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from dispatcher.broker.celery_settings import celery_settings
from dispatcher.embedded.servers.ports import LOOPBACK

Check = Callable[[], bool]
_ASK_SECONDS = 1.0
_PING_SECONDS = 0.3


def at_once() -> bool:
    """For children that need no check."""
    return True


def answers(port: int, path: str) -> Check:
    """A GET on the port of 127.0.0.1 is answered with 200."""
    # Our own child is reached directly, not through a proxy from the environment.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def check() -> bool:
        try:
            with opener.open(f"http://{LOOPBACK}:{port}{path}", timeout=_ASK_SECONDS) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError, ValueError):
            return False

    return check


def worker_answers(broker_url: str, node: str) -> Check:
    """The Celery worker `node` of this machine answers a ping through the broker."""
    app = Celery("dispatcher.up", set_as_current=False)
    app.conf.update(celery_settings(broker_url))
    destination = [f"{node}@{socket.gethostname()}"]

    def check() -> bool:
        try:
            return bool(app.control.ping(destination=destination, timeout=_PING_SECONDS))
        except (OperationalError, RedisError, OSError):
            return False

    return check
