"""What a storm reads of the attempts that were made."""

from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.factories import MESSAGE, change, deliver_all, make_webhook
from tests.faults.ledgers import UNKNOWN
from tests.faults.records import read_rows
from tests.receiver import Receiver


def test_an_attempt_that_was_recorded_without_its_request_counts_as_no_death(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(3):
        enqueue("any", MESSAGE, account="acme")
    deliver_all(settings)
    without = (
        "UPDATE dispatcher.attempts SET request_id = NULL, outcome_unknown = :unknown WHERE delivery_id = (SELECT {})"
    )
    change(database, without.format("min(id::text)::uuid FROM dispatcher.deliveries"), unknown=False)
    change(database, without.format("max(id::text)::uuid FROM dispatcher.deliveries"), unknown=True)
    rows = sorted(read_rows(database), key=lambda row: row.delivery)
    assert [one.outcome for row in rows for one in row.tried] == ["no request", "200", UNKNOWN]
