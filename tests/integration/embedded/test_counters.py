"""What the calm screen counts, and what it says of servers that go away."""

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.embedded import counters
from dispatcher.embedded.counters import Counters, Counts, count
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port
from tests.factories import RECEIVED, change, deliver_all, make_webhook
from tests.process_table import eventually
from tests.receiver import Receiver


def test_events_and_deliveries_are_counted_up_to_a_bound(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(3):
        enqueue(RECEIVED, 1, account="acme")
    deliver_all(settings)
    enqueue(RECEIVED, 1, account="acme")
    assert count(database) == Counts(4, {"delivered": 3, "ready": 1})
    change(database, "UPDATE dispatcher.deliveries SET state = 'waiting' WHERE state = 'ready'")
    monkeypatch.setattr(counters, "MAX", 2)
    assert count(database) == Counts(2, {"delivered": 1, "waiting": 1})


def test_a_server_that_is_away_is_named_while_it_lasts(database: Engine, settings: Settings) -> None:
    urls = settings.database_url.get_secret_value(), settings.broker_url.get_secret_value()
    dead = refusing_port()
    for given, problem in (
        (urls, None),
        ((f"postgresql+psycopg2://u:p@127.0.0.1:{dead}/d", urls[1]), "the database (DATABASE_URL) does not answer"),
        ((urls[0], f"redis://127.0.0.1:{dead}/0"), f"The address is 127.0.0.1:{dead}"),
    ):
        with Counters(*given) as counting:
            if problem is None:
                assert eventually(lambda counting=counting: counting.counts is not None)
                assert counting.problem is None
            else:
                assert eventually(lambda counting=counting, problem=problem: problem in (counting.problem or ""))
