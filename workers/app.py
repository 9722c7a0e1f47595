"""The Celery app without tasks: its settings, derived from ours in one place. All that beat needs."""

from celery import Celery, signals
from kombu import Exchange, Queue

from dispatcher.broker.celery_settings import celery_settings
from dispatcher.settings import Settings
from dispatcher.wake import CLOCKS_DIFFER_SECONDS, QUEUES
from schedules.beat import PERIODIC
from schedules.timing import Timing
from workers.broker_transport import use_these

# Seconds that a new child has until it is killed. It may recover what the one before left, from a database that is slow
# to answer, on a machine that is busy: Celery's own 4 would kill one child after the other, and at its start the node.
CHILD_STARTS_WITHIN = 60.0


def make_app(settings: Settings) -> Celery:
    """A new app, which leaves the logs of its process alone."""
    use_these()
    app = Celery("dispatcher")
    timing = Timing(settings.time_scale)
    app.conf.update(
        celery_settings(settings.broker_url.get_secret_value()),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_ignore_result=True,  # results are rows; Flower still shows what a task returned
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in ("deliver", "mail", "upkeep")],
        task_create_missing_queues=False,
        task_default_queue="upkeep",
        task_routes={task: {"queue": queue} for task, queue in QUEUES.items()},
        # A message waits in the broker until a child can take it: others may have one, and parked loops take it, too.
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=CHILD_STARTS_WITHIN,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=True,  # few and small messages: Flower needs them, and they cost nothing
        task_send_sent_event=False,
        event_queue_expires=60,
        beat_schedule={
            entry.task: {
                "task": entry.task,
                "schedule": entry.seconds(timing),
                "options": {"queue": entry.queue, "expires": 2 * entry.seconds(timing) + CLOCKS_DIFFER_SECONDS},
            }
            for entry in PERIODIC
        },
        beat_max_loop_interval=1,
        beat_scheduler="workers.scheduler:Scheduler",
        worker_consumer="workers.consumer:Consumer",
    )

    @signals.setup_logging.connect(weak=False)
    def leave_our_logs(**_: object) -> None:
        """Whoever starts the process has configured them; Celery does it if nobody listens here."""

    return app
