"""Which pools a worker may have."""

from types import SimpleNamespace

import pytest
from celery import signals
from celery.concurrency import get_implementation

from dispatcher.settings import Settings
from workers.celery_app import make_celery


@pytest.mark.parametrize(("pool", "autoscale"), [("solo", None), ("threads", None), ("prefork", (4, 2))])
def test_a_worker_without_processes_of_its_own_refuses_to_start(
    settings: Settings, pool: str, autoscale: tuple[int, int] | None
) -> None:
    app = make_celery(settings)
    before = list(signals.worker_init.receivers)
    try:
        with pytest.raises(SystemExit, match="pool `prefork`"):
            signals.worker_init.send(SimpleNamespace(pool_cls=get_implementation(pool), autoscale=autoscale))
    finally:
        signals.worker_init.receivers = before
        app.close()
