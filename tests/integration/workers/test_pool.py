"""Which pools a worker may have."""

from dataclasses import dataclass

import pytest
from celery import signals
from celery.concurrency import get_implementation
from pydantic import SecretStr

from dispatcher.settings import Settings
from tests.dead_ports import refusing_port
from workers import celery_app
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


def test_a_worker_that_starts_while_the_database_is_away_shares_memory_with_its_children_all_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, what children had claimed when they died is not recovered."""
    shared: list[str] = []
    monkeypatch.setattr(celery_app, "share", lambda: shared.append("memory"))
    url = SecretStr(f"postgresql+psycopg2://nobody@127.0.0.1:{refusing_port()}/none")
    before = list(signals.worker_init.receivers)
    app = make_celery(settings.model_copy(update={"database_url": url}))
    try:
        signals.worker_init.receivers = signals.worker_init.receivers[len(before) :]  # of this app alone
        signals.worker_init.send(Node(get_implementation("prefork"), {"autoscale": None}))
    finally:
        signals.worker_init.receivers = before
        app.close()
    assert shared == ["memory"]
