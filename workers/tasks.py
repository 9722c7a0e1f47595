"""The Celery tasks: a name and a line each. No task has arguments: what is due stands in the database."""

from celery import shared_task

from dispatcher.wake import DELIVER, NOTICES, SWEEP
from workers.context import process_context
from workers.deliver import DeliveryLoop
from workers.notices import send_due_alone
from workers.sweep import sweep
from workers.upkeep import upkeep


@shared_task(name=DELIVER)
def deliver() -> dict[str, int]:
    """Delivers all that is due."""
    return DeliveryLoop(process_context()).run()


@shared_task(name=SWEEP)
def sweep_once() -> dict[str, int]:
    """Finds what no wake covered."""
    return sweep(process_context())


@shared_task(name=NOTICES)
def send_notices() -> dict[str, int]:
    """Sends the problem notices that are owed."""
    context = process_context()
    context.waker.asleep(NOTICES)  # a notice that comes from now on wakes again
    return send_due_alone(context.engine, context.mailer)


@shared_task(name="dispatcher.upkeep")
def upkeep_once() -> dict[str, int]:
    """Ends what cannot be attempted any more, and tidies up."""
    return upkeep(process_context())
