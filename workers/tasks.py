"""The Celery tasks: a name and a line each. No task has arguments: what is due stands in the database."""

from collections.abc import Iterator
from contextlib import contextmanager

from celery import shared_task
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.errors import DispatcherError
from dispatcher.wake import DELIVER, NOTICES, REDELIVER, SWEEP
from workers.context import process_context
from workers.deliver import DeliveryLoop
from workers.notices import send_due_alone
from workers.redeliver import go_on
from workers.sweep import sweep
from workers.upkeep import upkeep


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


@shared_task(name=DELIVER)
@_without_values()
def deliver() -> dict[str, int]:
    """Delivers all that is due."""
    return DeliveryLoop(process_context()).run()


@shared_task(name=SWEEP)
@_without_values()
def sweep_once() -> dict[str, int]:
    """Finds what no wake covered."""
    return sweep(process_context())


@shared_task(name=NOTICES)
@_without_values()
def send_notices() -> dict[str, int]:
    """Sends the problem notices that are owed."""
    context = process_context()
    context.waker.asleep(NOTICES)  # a notice that comes from now on wakes again
    return send_due_alone(context.engine, context.mailer)


@shared_task(name=REDELIVER)
@_without_values()
def redeliver_more() -> dict[str, int]:
    """Goes on with the mass redeliveries that are open."""
    context = process_context()
    context.waker.asleep(REDELIVER)  # one that is ordered from now on wakes again
    return go_on(context)


@shared_task(name="dispatcher.upkeep")
@_without_values()
def upkeep_once() -> dict[str, int]:
    """Ends what cannot be attempted any more, and tidies up."""
    return upkeep(process_context())
