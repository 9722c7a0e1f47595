"""The Celery tasks: a name and a line each. No task has arguments: what is due stands in the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.errors import DispatcherError
from dispatcher.wake import DELIVER, NOTICES, REDELIVER, SWEEP
from workers.loop import DeliveryLoop
from workers.maintenance.redeliver import go_on
from workers.maintenance.sweep import sweep
from workers.maintenance.upkeep import upkeep
from workers.notices.send import send_due_alone
from workers.process import Worker


class TaskFailed(Exception):
    """What the log and Flower show of a task that failed: the kind of error, with where it was raised."""


@contextmanager
def _without_values() -> Iterator[None]:
    """An unexpected error's own text could hold a piece of a message or a secret. Those of the product and, on its
    engines, of the database are written without."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - none of them may be shown as it is
        kind = type(error).__name__
        told = f"{kind}: {error}" if isinstance(error, DispatcherError | SQLAlchemyError) else kind
        raise TaskFailed(told).with_traceback(error.__traceback__) from None


def add_tasks(app: Celery, worker_of_process: Callable[[], Worker]) -> None:
    """Gives an app, and no other one in the process, its tasks. They do their work with the process's worker."""
    task = partial(app.task, shared=False)

    @task(name=DELIVER)
    @_without_values()
    def deliver() -> dict[str, int]:
        """Delivers all that is due."""
        return DeliveryLoop(worker_of_process()).run()

    @task(name=SWEEP)
    @_without_values()
    def sweep_once() -> dict[str, int]:
        """Finds what no wake covered."""
        installation = worker_of_process().installation
        return sweep(installation.engine, installation.waker, installation.timing)

    @task(name=NOTICES)
    @_without_values()
    def send_notices() -> dict[str, int]:
        """Sends the problem notices that are owed."""
        worker = worker_of_process()
        worker.installation.waker.asleep(NOTICES)  # a notice that comes from now on wakes again
        return send_due_alone(worker.installation.engine, worker.mailer)

    @task(name=REDELIVER)
    @_without_values()
    def redeliver_more() -> dict[str, int]:
        """Goes on with the bulk redeliveries that are open."""
        installation = worker_of_process().installation
        installation.waker.asleep(REDELIVER)  # one that is ordered from now on wakes again
        return go_on(installation.engine, installation.waker, installation.timing, installation.clock)

    @task(name="dispatcher.upkeep")
    @_without_values()
    def upkeep_once() -> dict[str, int]:
        """Ends what cannot be attempted any more, and tidies up."""
        installation = worker_of_process().installation
        return upkeep(
            installation.engine, installation.clock, circuit_breakers=installation.settings.circuit_breaker_failures > 0
        )
