"""The Celery tasks: a name and a line each. No task has arguments: what is due is in the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

from celery import Celery
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from dispatcher.db.outages import explain_outage, is_outage
from dispatcher.db.retention.kinds import Kept
from dispatcher.errors import DispatcherError
from dispatcher.memory import collect_rarely
from dispatcher.wake import DELIVER, NOTICES, REDELIVER, SUSPECTS, SWEEP, UPKEEP
from workers.loop import DeliveryLoop
from workers.maintenance.redeliver import continue_redeliveries
from workers.maintenance.sweep import may_keep_up, sweep_in_turn
from workers.maintenance.upkeep import upkeep
from workers.notices.send import send_due_alone
from workers.process import Worker
from workers.watchdog import LOOP_SECONDS, TASK_SECONDS

Task: TypeAlias = Callable[[Worker], dict[str, int]]

AGAIN = 3  # seconds


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
        if isinstance(error, SQLAlchemyError) and (why := explain_outage(error)) is not None:
            shown = f"{why}. {shown}"  # such as a right that the user lacks
        raise TaskFailed(shown).with_traceback(error.__traceback__) from None


def _call_again(name: str, worker: Worker) -> None:
    """In 1 to 4 s; however many tasks of a kind fail, once."""
    now = worker.installation.clock.timestamp()
    second = (int(now + 1) // AGAIN + 1) * AGAIN
    worker.installation.waker.wake_later(name, second, second - now)


def add_tasks(app: Celery, worker_of_process: Callable[[], Worker]) -> None:
    """Adds the tasks to an app, and to no other one in the process. They work with the process's worker."""

    def task(name: str, seconds: float = TASK_SECONDS) -> Callable[[Task], None]:
        """A task whose child is replaced if it makes no progress for so many seconds. It runs again a moment later if
        the database was away, which is no error of it."""

        def add(work: Task) -> None:
            @app.task(name=name, shared=False)
            @_without_values()
            def run() -> dict[str, int]:
                worker = worker_of_process()
                try:
                    with worker.watchdog.watching(seconds):
                        result = work(worker)
                except SQLAlchemyError as error:
                    # A missing table does not come back by itself.
                    if not is_outage(error) or isinstance(error, ProgrammingError):
                        raise
                    worker.outages.failed(error)
                    _call_again(name, worker)
                    return {}
                worker.outages.succeeded()
                return result

        return add

    @task(DELIVER, LOOP_SECONDS)
    def deliver(worker: Worker) -> dict[str, int]:
        """Delivers everything that is due."""
        collect_rarely()  # in this child for good: it will hardly do anything else
        return DeliveryLoop(worker).run()

    @task(SUSPECTS, LOOP_SECONDS)
    def deliver_suspects(worker: Worker) -> dict[str, int]:
        """Delivers what had to do with the deaths of several workers."""
        return DeliveryLoop(worker, SUSPECTS).run()

    @task(SWEEP)
    def sweep_once(worker: Worker) -> dict[str, int]:
        """Finds work that no wake covered."""
        installation = worker.installation
        return sweep_in_turn(
            worker.loop_engine, installation.waker, installation.timing, installation.clock, worker.heartbeat
        )

    @task(NOTICES)
    def send_notices(worker: Worker) -> dict[str, int]:
        """Sends the problem notices that are due."""
        worker.note("notices")
        waker = worker.installation.waker
        waker.asleep(NOTICES)  # a notice that is recorded from now on wakes again
        ended = send_due_alone(worker.installation.engine, worker.mailer, partial(waker.wake, NOTICES))
        worker.counts.notices(ended)
        return ended

    @task(REDELIVER)
    def redeliver_more(worker: Worker) -> dict[str, int]:
        """Continues the open bulk redeliveries."""
        worker.note("redeliver")
        installation = worker.installation
        installation.waker.asleep(REDELIVER)  # one that is ordered from now on wakes again
        parts = installation.engine, installation.waker, installation.timing, installation.clock
        return continue_redeliveries(*parts, installation.settings.default_limits)

    @task(UPKEEP)
    def upkeep_once(worker: Worker) -> dict[str, int]:
        """Ends deliveries that cannot be attempted any more, and cleans up; nothing if another run began just now."""
        worker.note("upkeep")
        installation = worker.installation
        if not may_keep_up(worker.loop_engine, installation.timing, worker.heartbeat.id):
            return {}
        circuit_breakers = installation.settings.circuit_breaker_failures > 0
        kept = Kept.of(dict(installation.settings), installation.settings.model_fields_set)
        return upkeep(
            installation.engine,
            installation.vault,
            installation.clock,
            worker.counts,
            kept,
            circuit_breakers=circuit_breakers,
        )
