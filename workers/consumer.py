"""What a node's main process does while the broker is away, and what it tells about the broker."""

from contextlib import suppress
from typing import Any

import structlog
from celery.utils.threads import bound_open_broker_sockets
from celery.worker import consumer, heartbeat
from celery.worker.consumer import heart
from celery.worker.state import maybe_shutdown

from dispatcher.metrics.progress import own
from workers.broker_transport import FAREWELL_SECONDS

log = structlog.get_logger("dispatcher.worker")

BACK_OFF = {"interval_start": 1, "interval_step": 1, "interval_max": 2}  # seconds between two tries to connect
_SHOWN = ("transport", "hostname", "port", "virtual_host")


class _Heartbeats(heartbeat.Heart):  # type: ignore[misc] # Celery has no types
    """Celery's tries to send one until the broker takes it: while a broker is silent nothing could stop the node. Here
    one that is not taken means that the connection is lost. Nothing else may notice it: a node whose acknowledgements
    were refused takes no more tasks."""

    def __init__(self, timer: Any, eventer: Any, interval: float | None) -> None:
        super().__init__(timer, eventer, interval)
        eventer.buffer_while_offline = False

    def _send(self, event: str, retry: bool = False) -> Any:  # noqa: ARG002 - Celery gives it
        return super()._send(event, retry=False)

    def stop(self) -> None:
        with suppress(*self.eventer.connection.connection_errors):
            super().stop()


class Heart(heart.Heart):  # type: ignore[misc] # Celery has no types
    """The step that starts these."""

    def start(self, c: Any) -> None:
        c.heart = _Heartbeats(c.timer, c.event_dispatcher, self.heartbeat_interval)
        c.heart.start()


class _Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc] # Celery has no types
    default_steps = (
        *(step for step in consumer.Consumer.Blueprint.default_steps if step != "celery.worker.consumer.heart:Heart"),
        Heart,
    )

    def info(self, parent: Any) -> Any:
        """For `celery inspect stats` and Flower: without logins, which Celery's shows of sentinels."""
        told = super().info(parent)
        if isinstance(broker := told.get("broker"), dict):
            told["broker"] = {name: broker[name] for name in _SHOWN}
        return told


class Consumer(consumer.Consumer):  # type: ignore[misc] # Celery has no types
    """Celery's waits for up to 32 seconds, and reports each try."""

    Blueprint = _Blueprint

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        hub.on_tick.add(own().turned)

    def ensure_connected(self, conn: Any) -> Any:
        told = False

        def tell(error: Exception, _seconds: float) -> None:
            nonlocal told
            if not told:
                log.warning("the broker does not answer: tasks wait", error=type(error).__name__)
                told = True

        conn.ensure_connection(tell, callback=_waits, **BACK_OFF)
        self.first_connection_attempt = False
        if told:
            log.info("the broker answers again")
        return conn

    def stop(self) -> None:
        """Says goodbye to the broker in up to ten commands. A silent one must not keep the node from its end."""
        events = self.event_dispatcher
        for connection in (self.connection, events.connection if events else None):
            if connection is not None:
                bound_open_broker_sockets(connection, FAREWELL_SECONDS)
                for channel in connection.transport.channels:
                    channel.hurry()
        super().stop()


def _waits() -> None:
    """Each second between two tries to connect."""
    own().turned()
    maybe_shutdown()
