"""Wakes the workers: a ring for loops that are parked, or else one small Celery message, "something is due".

The bell is a list in the broker with one ring at most, which stands for any amount of work. This order leaves no gap:
a producer commits, then leaves a ring; a parked loop takes the ring, then claims. That claim sees what was committed
before the ring was taken; who commits after it leaves another. The parked mark says that a loop waits for rings.
Without it, nobody may be there to take one, so a message is sent, too: not again while one is on its way or a loop is
awake, which the wake flag says.
If a ring or a message is lost, that costs time but never a delivery: loops and the sweep find what is due.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from celery import Celery

from dispatcher.broker.celery_settings import celery_settings
from dispatcher.broker.clients import broker_pool, without_retries
from dispatcher.broker.presence import Presence

if TYPE_CHECKING:  # producers load the driver when they first need it
    from kombu import Queue
    from redis import Redis
    from redis.client import Pipeline
    from redis.connection import ConnectionPool

log = logging.getLogger("dispatcher.wake")

DELIVER = "dispatcher.deliver"
NOTICES = "dispatcher.notices"
SWEEP = "dispatcher.sweep"
REDELIVER = "dispatcher.redeliver"
SUSPECTS = "dispatcher.suspects"
UPKEEP = "dispatcher.upkeep"
QUEUES = {
    DELIVER: "deliver",
    NOTICES: "mail",
    SWEEP: "upkeep",
    REDELIVER: "upkeep",
    SUSPECTS: "upkeep",
    UPKEEP: "upkeep",
}

BELL = "dispatcher:bell"
PARKED = "dispatcher:parked"  # the mark of loops that wait for rings

SENT_SECONDS = 5  # a wake that no worker took is sent again after this; the sweep's interval
AWAKE_SECONDS = 3  # a loop renews its flag or mark each second; a killed one is forgotten after this
# Celery compares when a message expires with the clock of the host that takes it, which may be wrong.
CLOCKS_DIFFER_SECONDS = 3600
WAKE_LIFE_SECONDS = 600 + CLOCKS_DIFFER_SECONDS  # a message that nobody took is void then: workers look when they start
LOOP_LIFE_SECONDS = 5  # as above, for one that a node sends to itself, again and again
DELAYED_LIFE_SECONDS = 60
_BROKER_TIMEOUT = 1.0


class Waker:
    """Sends wakes through one broker. While that is away, nobody waits for it."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._presence = Presence(
            partial(log.warning, "the broker does not answer (%s); nothing is lost, the next sweep finds the work")
        )

    def wake(self, task: str = DELIVER) -> bool:
        """Wakes a loop, unless one will look anyway. True if a message was sent. Never raises if the broker is
        unavailable: that is logged, and the sweep finds the work."""
        return self._guarded(
            lambda: (
                not self._rings(task)
                and self._set_flag(flag_of(task), "sent", SENT_SECONDS, only_new=True)
                and self._send(task)
            )
        )

    def wake_another(self, task: str = DELIVER) -> bool:
        """Wakes a loop regardless of the flag: for a loop that found more work than it can take. False if the broker is
        unavailable."""
        return self._guarded(lambda: self._rings(task) or self._send(task))

    def start_loops(self, queue: "Queue", count: int) -> bool:
        """Sends so many wakes to a node's own queue, one for each child without a loop."""
        return self._guarded(lambda: all(self._send(DELIVER, queue, expires=LOOP_LIFE_SECONDS) for _ in range(count)))

    def leave(self) -> bool:
        """A parked loop ends. The mark goes, which other loops set again; and in case a ring was on its way to this
        loop, there is another."""

        def leave() -> bool:
            with self._client() as client, client.pipeline(transaction=False) as commands:
                commands.delete(PARKED)
                _leave_ring(commands)
                commands.execute()
            return True

        return self._guarded(leave)

    def connection(self) -> Any:
        """A `redis.Connection` of its own to the broker, not connected yet."""
        return self._pool.connection_class(**self._pool.connection_kwargs)

    def wake_later(self, task: str, bucket: int, countdown: float) -> bool:
        """Wakes after `countdown` seconds, unless a delayed wake for this time bucket was sent already. The message
        expires: by then the sweep has found the work."""
        key = f"dispatcher:delayed:{task}:{bucket}"
        return self._guarded(
            lambda: (
                self._set_flag(key, "set", countdown + DELAYED_LIFE_SECONDS, only_new=True)
                and self._send(
                    task, countdown=countdown, expires=countdown + DELAYED_LIFE_SECONDS + CLOCKS_DIFFER_SECONDS
                )
            )
        )

    def awake(self, task: str = DELIVER) -> bool:
        """A loop is running: producers need not wake."""
        return self._guarded(lambda: self._set_flag(flag_of(task), "awake", AWAKE_SECONDS, only_new=False))

    def asleep(self, task: str = DELIVER) -> bool:
        """The loop is about to end; it must claim once more after this."""
        return self._guarded(lambda: self._remove(task))

    def _send(
        self,
        task: str,
        queue: "Queue | None" = None,
        *,
        countdown: float | None = None,
        expires: float = WAKE_LIFE_SECONDS,
    ) -> bool:
        with self._app.producer_pool.acquire(block=True, timeout=_BROKER_TIMEOUT) as producer:
            try:
                self._app.send_task(
                    task,
                    producer=producer,
                    queue=queue or QUEUES[task],
                    retry=False,
                    ignore_result=True,
                    countdown=countdown,
                    expires=expires,
                )
            except Exception:
                producer.channel.pool.disconnect()
                raise
        return True

    def _rings(self, task: str) -> bool:
        """Leaves a ring, if loops are parked for this task. Whether one is there to take it."""
        if task != DELIVER:
            return False
        with self._client() as client, client.pipeline(transaction=False) as commands:
            _leave_ring(commands)
            commands.exists(PARKED)
            return bool(commands.execute()[-1])

    def _set_flag(self, key: str, value: str, seconds: float, *, only_new: bool) -> bool:
        with self._client() as client:
            return bool(client.set(key, value, px=int(seconds * 1000), nx=only_new))

    def _remove(self, task: str) -> bool:
        with self._client() as client:
            return bool(client.delete(flag_of(task)))

    @cached_property
    def _app(self) -> Celery:
        settings = celery_settings(self._broker_url)
        options = settings["broker_transport_options"]
        options |= {"socket_timeout": _BROKER_TIMEOUT, "retry_on_timeout": False}
        if "sentinel_kwargs" in options:
            options["sentinel_kwargs"] |= without_retries()
        app = Celery("dispatcher.producer", set_as_current=False)
        app.conf.update(
            settings, task_ignore_result=True, broker_connection_timeout=_BROKER_TIMEOUT, broker_connection_retry=False
        )
        return app

    @cached_property
    def _pool(self) -> "ConnectionPool":
        return broker_pool(self._broker_url, seconds=_BROKER_TIMEOUT)

    @cached_property
    def _redis(self) -> "Redis":
        from redis import Redis  # noqa: PLC0415 - see above

        return Redis(connection_pool=self._pool)  # one for all: to make it takes as long as to ask the broker

    @contextmanager
    def _client(self) -> Iterator["Redis"]:
        try:
            yield self._redis
        except Exception:  # also one that it answers: it was demoted, say, and the next try may reach another
            self._pool.disconnect(inuse_connections=False)
            raise

    def _guarded(self, action: Callable[[], bool]) -> bool:
        if self._presence.is_away(partial(self._rings, DELIVER)):  # something may have become due meanwhile
            return False
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - the event is committed: after an error it would be sent again
            self._presence.failed(error)
            return False


def flag_of(task: str) -> str:
    """The key of a task's wake flag."""
    return f"dispatcher:wake:{task}"


def _leave_ring(commands: "Pipeline") -> None:
    commands.rpush(BELL, "")
    commands.ltrim(BELL, 0, 0)
