"""The week that the benchmark stores is one that the engine could have left."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from benchmarks import history
from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.factories import RECEIVED, deliver_all, make_webhook, rows
from tests.integration.benchmarks.test_stored import TABLES, filled
from tests.receiver import Receiver


@pytest.fixture
def storing(settings: Settings) -> Iterator[Any]:
    """As much of the benchmark's servers as storing needs."""
    engine = create_engine(settings.database_url.get_secret_value(), isolation_level="AUTOCOMMIT")

    def execute(statement: str, **parameters: object) -> None:
        with engine.connect() as connection:
            connection.execute(text(statement), parameters)

    yield SimpleNamespace(execute=execute, installation=SimpleNamespace(engine=engine))
    engine.dispose()


def test_each_request_has_what_the_engine_records_and_ends_as_its_verdict_says(
    storing: Any, database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_PIECE", 70)  # several pieces, and stretches
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, {}, account="acme", subject="7")
    deliver_all(settings)
    real = {table: filled(database, table) for table in TABLES}
    now = datetime.now(UTC) - timedelta(minutes=1)  # before what was just delivered
    begin = now - timedelta(hours=20)
    history.store_requests(storing, [webhook.id], 200, begin, now)
    history.store_deliveries(storing, begin, now)
    for table in TABLES:
        assert real[table] <= filled(database, table), table
        assert len(rows(database, f"SELECT 1 FROM dispatcher.{table}")) == 201
    found = rows(
        database,
        "SELECT a.verdict, r.verdict AS of_request, d.state, d.reason, r.started_at FROM dispatcher.events e"
        " JOIN dispatcher.deliveries d ON d.event_id = e.id JOIN dispatcher.attempts a ON a.delivery_id = d.id"
        " JOIN dispatcher.requests r ON r.id = a.request_id WHERE e.type LIKE 'bench.%'",
    )
    assert len(found) == 200
    ends = {("acknowledged", "delivered", None), ("rejected", "discarded", "rejected")}
    ends |= {("temporary", "discarded", "exhausted"), ("temporary", "waiting", None)}
    assert {(row.verdict, row.state, row.reason) for row in found} <= ends
    assert all(row.verdict == row.of_request for row in found)
    assert all(row.started_at > now - timedelta(hours=6, seconds=1) for row in found if row.state == "waiting")
