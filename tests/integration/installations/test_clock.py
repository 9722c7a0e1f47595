"""What time it is, an installation says: its clock can be given."""

from datetime import UTC, datetime

from sqlalchemy import Engine

from dispatcher.events.enqueue import enqueue
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import make_webhook, rows
from tests.receiver import Receiver
from workers.loop import DeliveryLoop
from workers.process import Worker

THEN = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)


def test_events_and_signatures_are_of_the_time_that_the_clock_says(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    installation = Installation(settings, clock=lambda: THEN)
    worker = Worker(installation)
    enqueue("a", 1, account="acme", producer=installation)
    assert rows(database, "SELECT occurred_at FROM dispatcher.events")[0].occurred_at == THEN
    try:
        assert DeliveryLoop(worker).run()["delivered"] == 1
    finally:
        worker.close()
        installation.close()
    (request,) = receiver.received
    assert request.header("webhook-timestamp") == str(int(THEN.timestamp()))
