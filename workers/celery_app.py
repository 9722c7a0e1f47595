"""The Celery app of the workers: with its tasks, and with what a worker does when it starts and ends."""

import gc
from collections.abc import Callable
from contextlib import closing
from functools import cache
from signal import Signals
from typing import Any

import structlog
from celery import Celery, signals
from celery.apps import worker as celery_worker
from celery.concurrency import get_implementation
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.db.engines import MAINTENANCE
from dispatcher.embedded.spawning.parent_death import die_with_parent
from dispatcher.errors import ConfigurationError
from dispatcher.installation import Installation
from dispatcher.logs.process import refuse
from dispatcher.memory import give_back
from dispatcher.metrics.progress import own
from dispatcher.settings import Settings
from dispatcher.transport.choice import transport_name
from dispatcher.wake import QUEUES, SWEEP, WAKE_LIFE_SECONDS
from workers.app import make_app
from workers.own_loops import give_each_child_a_loop
from workers.process import NAME, Worker
from workers.recovery import recover
from workers.shared_memory import forget, main_process, share
from workers.starting import wait_until_fit
from workers.stopping import ask_to_stop
from workers.tasks import add_tasks

log = structlog.get_logger("dispatcher.worker")


def make_celery(settings: Settings) -> Celery:
    """The app of `celery -A workers worker|beat|flower`."""
    app = make_app(settings)
    # Made at its first use: after the fork, in the child that uses it.
    worker_of_process = cache(lambda: Worker(Installation(settings, name=NAME, limits=MAINTENANCE)))
    add_tasks(app, worker_of_process)
    _connect_signals(app, settings, worker_of_process)
    give_each_child_a_loop(app, settings.broker_url.get_secret_value())
    return app


def _connect_signals(app: Celery, settings: Settings, worker_of_process: Callable[[], Worker]) -> None:
    @signals.celeryd_init.connect(weak=False)
    def begin_quietly(instance: Any, **_: object) -> None:
        """Without Celery's banner; its words at the end are a line of the log."""
        instance.quiet = True
        celery_worker.safe_say = _say

    @signals.worker_init.connect(weak=False)
    def refuse_to_start_unfit(sender: Any, **_: object) -> None:
        """A worker that cannot work logs why and exits before it takes a single message."""
        if get_implementation(sender.pool_cls) is not get_implementation("prefork") or sender.options.get("autoscale"):
            # A journal belongs to a place in the pool, and a loop to a process that may die.
            refuse(
                ConfigurationError("workers need the pool `prefork` and a fixed `--concurrency`, without `--autoscale`")
            )
        # Before anything that can fail: without it nothing is recovered of children that die.
        share()
        try:
            with closing(Installation(settings, name=NAME)) as installation:
                wait_until_fit(installation)
        except (ConfigurationError, SQLAlchemyError) as error:
            forget()
            refuse(error)

    @signals.worker_before_create_process.connect(weak=False)
    def share_what_is_loaded(**_: object) -> None:
        """Children share the memory that nobody writes, and a collection writes to every object that it looks at. So
        none looks any more at what is here before the fork, in either process."""
        give_back()
        gc.freeze()

    @signals.worker_process_init.connect(weak=False)
    def end_with_the_main_process(**_: object) -> None:
        """Otherwise a child of one that was killed would wait for a task for ever."""
        die_with_parent(Signals.SIGKILL, main_process())

    @signals.worker_process_init.connect(weak=False)
    def recover_what_the_child_before_left(**_: object) -> None:
        """The child whose place this one has in the pool may have died with work. If the database is unavailable now,
        the next loop here does it, or the sweep."""
        worker = worker_of_process()
        if stack := worker.watchdog.left():
            log.error("a child made no progress and was replaced", stood_at=stack)
            worker.journal.was_stuck()
        if worker.journal.left() is not None:
            worker.counts.death(stuck=bool(stack))
            try:
                recover(worker.loop_engine, worker.journal, worker.installation.waker)
            except SQLAlchemyError as error:
                log.warning("what a dead loop left is recovered later", error=type(error).__name__)

    @signals.worker_process_shutdown.connect(weak=False)
    def leave(**_: object) -> None:
        worker_of_process().leave()

    @signals.worker_ready.connect(weak=False)
    def sweep_at_start(**_: object) -> None:
        own().begin()
        log.info("worker ready", transport=transport_name(settings))
        for warning in settings.warnings:
            log.warning(warning)
        app.send_task(SWEEP, queue=QUEUES[SWEEP], expires=WAKE_LIFE_SECONDS)

    @signals.worker_shutting_down.connect(weak=False)
    def end_loops(**_: object) -> None:
        ask_to_stop()

    @signals.worker_shutdown.connect(weak=False)
    def forget_shared_memory(**_: object) -> None:
        forget()


def _say(text: str, _to: object = None) -> None:
    """For what Celery writes past its loggers, in handlers of signals."""
    log.info(text)
