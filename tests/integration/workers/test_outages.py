"""Workers while their database is away, silent or read-only: they come back by themselves, and say it once."""

import time
from collections.abc import Callable, Iterator

import celery
import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.db import outage_log
from dispatcher.db.engines import Limits
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from dispatcher.wake import DELIVER, NOTICES, REDELIVER, SWEEP, UPKEEP
from tests.behaviours import final
from tests.factories import MESSAGE, change, make_webhook, rows
from tests.integration.workers.looping import looping, seconds_until
from tests.receiver import Receiver
from tests.relay import Relay, relayed
from workers.process import Worker
from workers.tasks import add_tasks

SLACK = 3
BEGAN, OVER = "what has to do with it is tried again", "the database can be used again"


@pytest.fixture
def behind(settings: Settings, monkeypatch: pytest.MonkeyPatch, database: Engine) -> Iterator[tuple[Relay, Settings]]:
    """A relay before the database, for which half a second is waited."""
    monkeypatch.setattr("workers.process.LOOP", Limits(0.4, lock=0.2))
    monkeypatch.setattr(outage_log, "CALM", 0.0)
    with relayed(settings) as behind:
        yield behind


@pytest.fixture
def worker(behind: tuple[Relay, Settings]) -> Iterator[Worker]:
    made = Worker(Installation(behind[1]))
    yield made
    made.close()
    made.installation.close()


def is_delivered(database: Engine) -> bool:
    return bool(rows(database, "SELECT 1 FROM dispatcher.deliveries WHERE state = 'delivered'"))


def read_only(database: Engine) -> None:
    change(database, "ALTER ROLE dispatcher SET default_transaction_read_only TO on")


def writable(database: Engine) -> None:
    change(database, "ALTER ROLE dispatcher RESET default_transaction_read_only")


OUTAGES: dict[str, tuple[Callable[[Relay, Engine], None], Callable[[Relay, Engine], None]]] = {
    "away": (lambda relay, _: relay.cut(), lambda relay, _: relay.restore()),
    "silent": (lambda relay, _: relay.be_silent(), lambda relay, _: relay.restore()),
    "read-only": (
        lambda relay, database: (relay.cut(), read_only(database), relay.restore()),  # type: ignore[dict-item, func-returns-value]
        lambda _, database: writable(database),
    ),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_loop_keeps_its_results_through_an_outage_and_goes_on_soon_after_it(
    database: Engine,
    receiver: Receiver,
    behind: tuple[Relay, Settings],
    caplog: pytest.LogCaptureFixture,
    outage: str,
) -> None:
    relay, settings = behind
    begins, ends = OUTAGES[outage]
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue("any", MESSAGE, account="acme")
    with looping(settings) as result:
        receiver.wait_for(1)
        begins(relay, database)
        try:
            gate.open()
            seconds_until(lambda: BEGAN in caplog.text)
            time.sleep(2)  # so long that it is tried again
            assert not is_delivered(database)
        finally:
            ends(relay, database)
        assert seconds_until(lambda: is_delivered(database)) < 5 * SLACK
    assert result == [{"claimed": 1, "delivered": 1, "retried": 0, "discarded": 0}]
    assert len(receiver.received) == 1
    assert caplog.text.count(BEGAN) == 1


@pytest.mark.parametrize("task", [DELIVER, SWEEP, NOTICES, REDELIVER, UPKEEP])
def test_a_task_that_finds_its_database_away_is_no_error_and_called_again_within_seconds(
    behind: tuple[Relay, Settings],
    worker: Worker,
    caplog: pytest.LogCaptureFixture,
    broker: redis.Redis,
    task: str,
) -> None:
    relay, _ = behind
    if task == DELIVER:  # what a loop before it left
        worker.journal.begin("00000000-0000-0000-0000-000000000001")
    app = celery.Celery(set_as_current=False)
    add_tasks(app, lambda: worker)
    relay.cut()
    for _ in range(5):
        result = app.tasks[task].apply()
        assert (result.state, result.result) == ("SUCCESS", {})
    assert caplog.text.count(BEGAN) == 1
    assert "Traceback" not in caplog.text
    # One call for all of them; two, if the time of the first came meanwhile.
    called = sorted(int(key.rpartition(":")[2]) for key in broker.keys(f"dispatcher:delayed:{task}:*"))
    assert 1 <= len(called) <= 2
    assert 0 < called[-1] - time.time() <= 4
    relay.restore()
    assert app.tasks[task].apply().state == "SUCCESS"
    assert caplog.text.count(OVER) == 1
