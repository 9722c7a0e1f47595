"""What the benchmark stores by SQL is what the engine itself would have left."""

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from benchmarks import stored
from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.factories import RECEIVED, deliver_all, make_webhook, rows
from tests.receiver import Receiver

TABLES = ("deliveries", "attempts", "requests", "events")


@pytest.fixture
def storing(database: Engine, settings: Settings) -> Any:
    """As much of the benchmark's servers as storing needs."""
    engine = create_engine(settings.database_url.get_secret_value(), isolation_level="AUTOCOMMIT")

    def execute(statement: str, **parameters: object) -> None:
        with engine.connect() as connection:
            connection.execute(text(statement), parameters)

    yield SimpleNamespace(execute=execute)
    execute("DROP FUNCTION public.bench_v7")
    engine.dispose()


def filled(database: Engine, table: str) -> set[frozenset[str]]:
    """Which columns have a value, over all rows of a table."""
    return {
        frozenset(name for name, value in row._mapping.items() if value is not None)
        for row in rows(database, f"SELECT * FROM dispatcher.{table}")
    }


def test_finished_deliveries_have_all_that_the_engine_records(
    storing: Any, database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_PIECE", 7)  # several pieces
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, {}, account="acme")
    deliver_all(settings)
    real = {table: filled(database, table) for table in TABLES}
    stored.store_finished(storing, [webhook.id], 20)
    assert {table: filled(database, table) for table in TABLES} == real
    for table in TABLES:
        assert len(rows(database, f"SELECT * FROM dispatcher.{table}")) == 21
    joined = (
        "SELECT 1 FROM dispatcher.deliveries d JOIN dispatcher.events e ON e.id = d.event_id"
        " JOIN dispatcher.attempts a ON a.delivery_id = d.id JOIN dispatcher.requests r ON r.id = a.request_id"
    )
    assert len(rows(database, joined)) == 21


def test_due_deliveries_are_delivered_by_a_loop_and_waiting_ones_are_not(
    storing: Any, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhooks = [make_webhook(database, settings, url=receiver.url(f"/hook{number}")) for number in range(3)]
    ids = [webhook.id for webhook in webhooks]
    stored.store_due(storing, ids, 10)
    stored.store_waiting(storing, ids, 6, due_from=600, due_span=900)
    assert deliver_all(settings)["delivered"] == 10
    found = rows(
        database,
        "SELECT webhook_id, count(*) FILTER (WHERE state = 'delivered') AS delivered, count(*) FILTER ("
        " WHERE state = 'waiting' AND due_at - now() BETWEEN interval '590 s' AND interval '1500 s') AS waiting"
        " FROM dispatcher.deliveries GROUP BY webhook_id",
    )
    assert {row.webhook_id: (row.delivered, row.waiting) for row in found} == dict(
        zip(ids, [(4, 2), (3, 2), (3, 2)], strict=True)
    )
