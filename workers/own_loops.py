"""Gives each child of a node its loop, and gives it one again: after a death, an error, or the end of a loop's life.

The main process sends a wake to its own queue for each child that has nothing to do. Nobody else takes from that, and
what is lost is sent again a moment later.
"""

from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state
from kombu import Exchange, Queue

from dispatcher.wake import Waker
from workers.parking import decide_to_park
from workers.stopping import ask_to_stop

LOOK_EVERY = 0.5  # seconds


def give_each_child_a_loop(app: Celery, broker_url: str) -> None:
    """Has the nodes of this app do so, if their loops stay."""

    @signals.celeryd_after_setup.connect(weak=False)
    def decide(sender: str, **_: object) -> None:
        if decide_to_park(app.amqp.queues.consume_from):
            OwnLoops.queue = Queue(f"loops.{sender}", Exchange("loops"), routing_key=sender, auto_delete=True)
            app.amqp.queues.select_add(OwnLoops.queue)

    class OwnLoops(bootsteps.StartStopStep):  # type: ignore[misc] # Celery has no types
        """Looks, while the node consumes, for children that have nothing to do."""

        requires = ("celery.worker.consumer.tasks:Tasks",)
        queue: Queue | None = None

        def __init__(self, _consumer: Any, **_: object) -> None:
            self._timer: Any = None
            self._waker = Waker(broker_url)

        def start(self, consumer: Any) -> None:
            if self.queue is not None:
                self._look(consumer)
                self._timer = consumer.timer.call_repeatedly(LOOK_EVERY, self._look, (consumer,))

        def stop(self, _consumer: Any) -> None:
            if self._timer is not None:
                self._timer.cancel()
            if state.should_stop is not None:  # of a restart (SIGHUP), Celery tells nobody else
                ask_to_stop()

        def _look(self, consumer: Any) -> None:
            idle = consumer.pool.num_processes - len(state.reserved_requests)
            if idle > 0 and self.queue is not None:
                self._waker.start_loops(self.queue, idle)

    app.steps["consumer"].add(OwnLoops)
