"""Wakes the workers: one small Celery message, "something is due", not sent again while one is on its way.

The wake flag, a short-lived key in the broker, says that a wake is on its way or a loop is awake. This order leaves no
gap: a producer commits, then looks at the flag; a loop that is about to end removes the flag, then claims once more.
That claim sees what was committed before it; a producer that commits after it finds no flag and sends a wake.
If a wake is lost anyway, that costs time but never a delivery: the sweep finds what is due.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from celery import Celery

log = logging.getLogger("dispatcher.wake")

DELIVER = "dispatcher.deliver"
NOTICES = "dispatcher.notices"
SWEEP = "dispatcher.sweep"
REDELIVER = "dispatcher.redeliver"
SUSPECTS = "dispatcher.suspects"
QUEUES = {DELIVER: "deliver", NOTICES: "mail", SWEEP: "upkeep", REDELIVER: "upkeep", SUSPECTS: "upkeep"}

VISIBILITY_TIMEOUT = timedelta(hours=1)  # a wake with a longer countdown would run several times

SENT_SECONDS = 5  # a wake that no worker took is sent again after this; the sweep's interval
AWAKE_SECONDS = 3  # a loop renews its flag each second; a killed one is forgotten after this
DELAYED_LIFE_SECONDS = 60
_BROKER_TIMEOUT = 1.0
_PAUSE_AFTER_FAILURE = 5.0


def transport_options() -> dict[str, object]:
    """How every Celery app of the product talks to the broker: with time limits and enough connections."""
    return {
        "visibility_timeout": int(VISIBILITY_TIMEOUT.total_seconds()),
        "max_connections": 200,
        "socket_timeout": 10.0,
        "socket_connect_timeout": _BROKER_TIMEOUT,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }


class Waker:
    """Sends wakes through one broker. After the broker has failed, it does not try again for a few seconds."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("dispatcher.producer", broker=broker_url, set_as_current=False)
        self._app.conf.update(
            task_ignore_result=True,
            broker_connection_timeout=_BROKER_TIMEOUT,
            broker_transport_options={
                **transport_options(),
                "socket_timeout": _BROKER_TIMEOUT,
                "retry_on_timeout": False,
            },
            broker_connection_retry=False,
        )
        self._down_until = 0.0

    def wake(self, task: str = DELIVER) -> bool:
        """Wakes, unless a wake is on its way or a loop is awake. True if a message was sent. Never raises if the
        broker is unavailable: that is logged, and the sweep finds the work."""
        return self._guarded(
            lambda: self._set_flag(_key(task), "sent", SENT_SECONDS, only_new=True) and self._send(task)
        )

    def wake_another(self, task: str = DELIVER) -> bool:
        """Wakes regardless of the flag: for a loop that found more work than it can take."""
        return self._guarded(lambda: self._send(task))

    def wake_later(self, task: str, bucket: int, countdown: float) -> bool:
        """Wakes after `countdown` seconds, unless a delayed wake for this time bucket was sent already. The message
        expires: by then the sweep has found the work."""
        key = f"dispatcher:delayed:{task}:{bucket}"
        return self._guarded(
            lambda: (
                self._set_flag(key, "set", countdown + DELAYED_LIFE_SECONDS, only_new=True)
                and self._send(task, countdown=countdown, expires=countdown + DELAYED_LIFE_SECONDS)
            )
        )

    def awake(self, task: str = DELIVER) -> bool:
        """A loop is running: producers need not wake."""
        return self._guarded(lambda: self._set_flag(_key(task), "awake", AWAKE_SECONDS, only_new=False))

    def asleep(self, task: str = DELIVER) -> bool:
        """The loop is about to end; it must claim once more after this."""
        return self._guarded(lambda: self._remove(task))

    def _send(self, task: str, *, countdown: float | None = None, expires: float | None = None) -> bool:
        self._app.send_task(
            task, queue=QUEUES[task], retry=False, ignore_result=True, countdown=countdown, expires=expires
        )
        return True

    def _set_flag(self, key: str, value: str, seconds: float, *, only_new: bool) -> bool:
        with self._app.producer_pool.acquire(block=True, timeout=_BROKER_TIMEOUT) as producer:
            return bool(producer.channel.client.set(key, value, px=int(seconds * 1000), nx=only_new))

    def _remove(self, task: str) -> bool:
        with self._app.producer_pool.acquire(block=True, timeout=_BROKER_TIMEOUT) as producer:
            return bool(producer.channel.client.delete(_key(task)))

    def _guarded(self, action: Callable[[], bool]) -> bool:
        if time.monotonic() < self._down_until:
            return False
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - the event is committed: after an error it would be sent again
            self._down_until = time.monotonic() + _PAUSE_AFTER_FAILURE
            log.warning(
                "the broker does not answer (%s); nothing is lost, the next sweep finds the work", type(error).__name__
            )
            return False


def _key(task: str) -> str:
    return f"dispatcher:wake:{task}"
