"""The Celery tasks: a name and a line each. No task has arguments: what is due is in the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.errors import DispatcherError
from dispatcher.wake import DELIVER, NOTICES, REDELIVER, SUSPECTS, SWEEP, UPKEEP
from workers.loop import DeliveryLoop
from workers.maintenance.redeliver import continue_redeliveries
from workers.maintenance.sweep import put_off_upkeep, sweep_in_turn
from workers.maintenance.upkeep import upkeep
from workers.notices.send import send_due_alone
from workers.process import Worker


class TaskFailed(Exception):
    """What the log and Flower show of a failed task: the kind of error, and where it was raised."""


@contextmanager
def _without_values() -> Iterator[None]:
    """Hides the texts of unexpected errors: they could contain part of a message or a secret. Errors of the product,
    and of the database on the product's engines, have texts without values."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - none may be shown unchanged
        kind = type(error).__name__
        shown = f"{kind}: {error}" if isinstance(error, DispatcherError | SQLAlchemyError) else kind
        raise TaskFailed(shown).with_traceback(error.__traceback__) from None


def add_tasks(app: Celery, worker_of_process: Callable[[], Worker]) -> None:
    """Adds the tasks to an app, and to no other one in the process. They work with the process's worker."""
    task = partial(app.task, shared=False)

    @task(name=DELIVER)
    @_without_values()
    def deliver() -> dict[str, int]:
        """Delivers everything that is due."""
        return DeliveryLoop(worker_of_process()).run()

    @task(name=SUSPECTS)
    @_without_values()
    def deliver_suspects() -> dict[str, int]:
        """Delivers what had to do with the deaths of several workers."""
        return DeliveryLoop(worker_of_process(), SUSPECTS).run()

    @task(name=SWEEP)
    @_without_values()
    def sweep_once() -> dict[str, int]:
        """Finds work that no wake covered."""
        worker = worker_of_process()
        installation = worker.installation
        return sweep_in_turn(
            worker.loop_engine, installation.waker, installation.timing, installation.clock, worker.heartbeat
        )

    @task(name=NOTICES)
    @_without_values()
    def send_notices() -> dict[str, int]:
        """Sends the problem notices that are due."""
        worker = worker_of_process()
        worker.note("notices")
        worker.installation.waker.asleep(NOTICES)  # a notice that is recorded from now on wakes again
        return send_due_alone(worker.installation.engine, worker.mailer)

    @task(name=REDELIVER)
    @_without_values()
    def redeliver_more() -> dict[str, int]:
        """Continues the open bulk redeliveries."""
        worker = worker_of_process()
        worker.note("redeliver")
        installation = worker.installation
        installation.waker.asleep(REDELIVER)  # one that is ordered from now on wakes again
        return continue_redeliveries(installation.engine, installation.waker, installation.timing, installation.clock)

    @task(name=UPKEEP)
    @_without_values()
    def upkeep_once() -> dict[str, int]:
        """Ends deliveries that cannot be attempted any more, and cleans up."""
        worker = worker_of_process()
        worker.note("upkeep")
        installation = worker.installation
        put_off_upkeep(worker.loop_engine, installation.timing, worker.heartbeat)
        circuit_breakers = installation.settings.circuit_breaker_failures > 0
        return upkeep(installation.engine, installation.vault, installation.clock, circuit_breakers=circuit_breakers)
