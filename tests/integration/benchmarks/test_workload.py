"""The webhooks that the benchmark makes are what registration would have made."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from benchmarks.workload import ALL, incompressible_message, make_fleet, message
from dispatcher import enqueue
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import deliver_all, rows
from tests.receiver import Receiver

OWN = {"id", "number", "event_types", "url_ciphertext", "secrets_ciphertext", "created_at", "updated_at"}


@pytest.fixture
def bench(settings: Settings) -> Iterator[Any]:
    """As much of the benchmark's servers as making webhooks needs."""
    engine = create_engine(settings.database_url.get_secret_value(), isolation_level="AUTOCOMMIT")

    def execute(statement: str, **parameters: object) -> None:
        with engine.connect() as connection:
            connection.execute(text(statement), parameters)

    installation = Installation(settings)
    yield SimpleNamespace(execute=execute, installation=installation)
    installation.close()
    engine.dispose()


def test_a_copy_differs_from_a_registered_webhook_in_nothing_but_what_is_its_own(
    bench: Any, database: Engine, receiver: Receiver
) -> None:
    fleet = make_fleet(bench, [receiver.url("/a")] * 3, batch_size=7)
    registered, *copies = (
        {name: value for name, value in row._mapping.items() if name not in OWN}
        for row in rows(database, "SELECT * FROM dispatcher.webhooks ORDER BY number")
    )
    assert copies == [registered, registered]
    assert (registered["batch_size"], registered["account_no"] > 0) == (7, True)
    found = {
        row.webhook_id: (row.types, row.subscribed)
        for row in rows(
            database,
            "SELECT w.id AS webhook_id, w.event_types AS types, array_agg(s.event_type ORDER BY s.event_type DESC)"
            " AS subscribed FROM dispatcher.webhooks w JOIN dispatcher.subscriptions s ON s.webhook_id = w.id"
            " AND s.account_id = w.account_id GROUP BY w.id",
        )
    }
    assert found == {one: ([f"bench.w{n}", ALL], [f"bench.w{n}", ALL]) for n, one in enumerate(fleet.ids)}


def test_each_webhook_of_a_fleet_gets_its_own_events_and_those_for_all_at_its_own_url(
    bench: Any, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    fleet = make_fleet(bench, [receiver.url(path) for path in ("/a", "/b", "/a", "/b", "/a")])
    event = fleet.event(13, message())  # of the fourth
    enqueue(event.type, event.data, account=fleet.account, producer=bench.installation)
    enqueue(ALL, message(), account=fleet.account, producer=bench.installation)
    assert deliver_all(settings)["delivered"] == 6
    assert sorted(request.path for request in receiver.received) == ["/a"] * 3 + ["/b"] * 3
    assert len(rows(database, "SELECT 1 FROM dispatcher.deliveries WHERE webhook_id = :id", id=fleet.ids[3])) == 2


def test_an_incompressible_message_is_stored_in_its_whole_size(
    bench: Any, database: Engine, receiver: Receiver
) -> None:
    size = 100_000
    fleet = make_fleet(bench, [receiver.url("/a")])
    for data in (message(size), incompressible_message(size)):
        enqueue("bench.w0", data, account=fleet.account, producer=bench.installation)
    compressed, whole = rows(
        database,
        "SELECT octet_length(data) AS bytes, pg_column_size(data) AS stored FROM dispatcher.events ORDER BY id",
    )
    assert (compressed.bytes, whole.bytes) == (size, size)
    assert compressed.stored < size / 10 < size * 0.95 < whole.stored
