"""Which pools a worker may have."""

from dataclasses import dataclass

import pytest
from celery import signals
from celery.concurrency import get_implementation

from dispatcher.settings import Settings
from workers.celery_app import make_celery


@dataclass(eq=False)
class Node:
    """A worker as Celery passes it to the signal."""

    pool_cls: type
    options: dict[str, str | None]


@pytest.mark.parametrize(("pool", "autoscale"), [("solo", None), ("threads", None), ("prefork", "4,2")])
def test_a_worker_without_processes_of_its_own_refuses_to_start(
    settings: Settings, pool: str, autoscale: str | None
) -> None:
    app = make_celery(settings)
    before = list(signals.worker_init.receivers)
    try:
        with pytest.raises(SystemExit, match="pool `prefork`"):
            signals.worker_init.send(Node(get_implementation(pool), {"autoscale": autoscale}))
    finally:
        signals.worker_init.receivers = before
        app.close()
