"""Which deliveries are tried apart from others, how many at a time, and who says so."""

from collections import Counter

import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.deliveries.deaths import ALONE, GROUPS, SUSPECT
from dispatcher.settings import Settings
from dispatcher.wake import DELIVER, SUSPECTS
from tests.factories import MESSAGE, RECEIVED, change, deliver_all, deliveries, make_webhook, rows, sweep_once
from tests.many_rows import copy_webhook
from tests.receiver import Receiver
from workers.claims.suspects import SuspectClaimer

URL = "http://127.0.0.1:9/"


def store(database: Engine, settings: Settings, deaths: int, count: int = 100, **fields: object) -> None:
    """So many deliveries, each of its own webhook, whose workers died so often."""
    make_webhook(database, settings, url=URL, contract=fields)
    copy_webhook(database, settings, count - 1)
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET deaths = :deaths", deaths=deaths)


def claim(database: Engine) -> list[str]:
    with database.begin() as connection:
        return [one.delivery_id for one in SuspectClaimer().claim(connection).claims]


@pytest.mark.parametrize(("deaths", "together"), [*GROUPS.items(), (ALONE, 1), (ALONE + 1, 1)])
def test_a_group_gets_smaller_with_each_death_down_to_one(
    database: Engine, settings: Settings, deaths: int, together: int
) -> None:
    store(database, settings, deaths)
    assert len(claim(database)) == together


def test_a_group_has_one_of_each_webhook_and_those_with_the_fewest_deaths(database: Engine, settings: Settings) -> None:
    store(database, settings, SUSPECT, count=3)
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET deaths = 2 WHERE deaths = 0")
    first = deliveries(database)[0].id
    change(database, "UPDATE dispatcher.deliveries SET deaths = 3 WHERE id = :id", id=first)
    claimed = claim(database)
    assert Counter(row.webhook_id for row in deliveries(database) if str(row.id) in claimed).most_common(1)[0][1] == 1
    assert (len(claimed), str(first) in claimed) == (3, False)


@pytest.mark.parametrize(
    "change_it",
    [
        "UPDATE dispatcher.deliveries SET due_at = now() + interval '1 minute'",
        "UPDATE dispatcher.deliveries SET deaths = 1",
        "UPDATE dispatcher.deliveries SET state = 'waiting'",
        "UPDATE dispatcher.webhooks SET enabled = false",
        "UPDATE dispatcher.webhooks SET quarantined_at = now()",
        "UPDATE dispatcher.webhooks SET format = 99",
        "UPDATE dispatcher.accounts SET suspended_at = now()",
    ],
)
def test_what_no_claim_takes_is_no_suspect_either(database: Engine, settings: Settings, change_it: str) -> None:
    store(database, settings, SUSPECT, count=2)
    change(database, change_it)
    assert claim(database) == []


def test_a_rate_limit_holds_for_suspects(database: Engine, settings: Settings) -> None:
    store(database, settings, SUSPECT, count=1, rate_limit=0.01)
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET deaths = 2")
    assert [len(claim(database)) for _ in range(2)] == [1, 0]


def test_suspects_are_delivered_by_their_own_task_only_and_are_innocent_then(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(5):
        enqueue(RECEIVED, MESSAGE, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET deaths = 2")
    assert deliver_all(settings, DELIVER)["delivered"] == 0
    assert deliver_all(settings, SUSPECTS)["delivered"] == 5
    assert {(row.state, row.attempt_count, row.deaths) for row in deliveries(database)} == {("delivered", 1, 0)}


def test_the_sweep_wakes_for_suspects(database: Engine, settings: Settings, broker: "redis.Redis") -> None:
    store(database, settings, SUSPECT - 1, count=1)
    broker.flushdb()
    sweep_once(settings)
    change(database, "UPDATE dispatcher.deliveries SET deaths = :deaths", deaths=SUSPECT)
    assert SUSPECTS not in "".join(broker.lrange("upkeep", 0, -1))
    sweep_once(settings)
    sweep_once(settings)
    assert sum(f'"task": "{SUSPECTS}"' in message for message in broker.lrange("upkeep", 0, -1)) == 1
    assert rows(database, "SELECT 1 FROM dispatcher.deliveries WHERE deaths = 2") != []
