"""Processes whose machine's clock is wrong, by an hour or by years, work by the database's time."""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.actor import CommandLine
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.asgi import create_app
from dispatcher.db.clock import DatabaseClock
from dispatcher.db.heartbeat import DELIVERS, Heartbeat
from dispatcher.db.new_ids import NEW_ID
from dispatcher.db.retention.kinds import Kept
from dispatcher.events.enqueue import enqueue, enqueue_many
from dispatcher.events.event import Accepted, Event
from dispatcher.ids import time_of
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from dispatcher.transport.curl import transfers
from dispatcher.transport.threaded import transport as threaded
from dispatcher.webhooks.registration import register
from tests.behaviours import Answer
from tests.factories import change, make_account, make_webhook, rows, sweep_if_due, worker_for
from tests.integration.api.conftest import Api, running_app
from tests.receiver import Receiver
from workers.app import make_app
from workers.loop import DeliveryLoop
from workers.maintenance.sweep import sweep_in_turn
from workers.maintenance.upkeep import upkeep
from workers.process import Worker

HOUR = timedelta(hours=1)
YEARS = timedelta(days=3650)
CLOSE = timedelta(minutes=1)


class Machine:
    """A machine with a clock that is wrong, and an installation there."""

    def __init__(self, settings: Settings, wrong: timedelta) -> None:
        self.wrong = wrong
        self.installation = Installation(settings, clock=DatabaseClock(self.nanoseconds))
        self.worker = Worker(self.installation)

    def nanoseconds(self) -> int:
        return time.time_ns() + int(self.wrong.total_seconds()) * 1_000_000_000

    def datetime(self) -> type[datetime]:
        machine = self

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + machine.wrong

        return Shifted

    def deliver(self) -> int:
        return DeliveryLoop(self.worker).run()["delivered"]


@pytest.fixture(
    params=[HOUR, -HOUR, YEARS, -YEARS], ids=["an hour ahead", "an hour behind", "years ahead", "years behind"]
)
def machine(
    request: pytest.FixtureRequest, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    made = Machine(settings, request.param)
    for module in (transfers, threaded):
        monkeypatch.setattr(module, "datetime", made.datetime())
    yield made
    made.worker.close()
    made.installation.close()


def is_now(moment: datetime) -> bool:
    return abs(datetime.now(UTC) - moment) < CLOSE


def test_all_that_it_stores_and_signs_has_the_databases_time(
    database: Engine, settings: Settings, receiver: Receiver, machine: Machine
) -> None:
    make_account(database)
    receiver.script("/hook", Answer(503))
    webhook = register(
        machine.installation, "acme", by=CommandLine("tester"), url=receiver.url("/hook"), event_types=["*"]
    ).webhook
    first = enqueue("a", 1, account="acme", producer=machine.installation)
    second, third = enqueue_many(
        [Event(type="a", data=n, account="acme") for n in range(2)], producer=machine.installation
    )
    assert machine.deliver() == 0
    for identifier in (webhook.id, first.event_id, second.event_id, third.event_id):
        assert is_now(time_of(identifier))
    assert first.event_id < second.event_id < third.event_id
    (event, *_) = rows(database, "SELECT * FROM dispatcher.events")
    assert is_now(event.occurred_at)
    made = rows(
        database,
        "SELECT r.id, r.started_at, a.id AS attempt"
        " FROM dispatcher.requests r JOIN dispatcher.attempts a ON request_id = r.id",
    )
    assert len(made) == 3
    assert all(is_now(time_of(row.id)) and is_now(row.started_at) and is_now(time_of(row.attempt)) for row in made)
    for request in receiver.received:
        assert is_now(datetime.fromtimestamp(int(request.header("webhook-timestamp") or 0), UTC))
    (entry,) = rows(database, "SELECT id FROM dispatcher.audit WHERE action = 'webhook.created'")
    assert is_now(time_of(entry.id))


def test_its_retries_notices_and_expired_claims_come_in_time(
    database: Engine, settings: Settings, receiver: Receiver, machine: Machine
) -> None:
    receiver.script("/hook", Answer(503), Answer(204))
    make_webhook(database, settings, url=receiver.url("/hook"), contact_email="a@example.com")
    enqueue("a", 1, account="acme", producer=machine.installation)
    assert machine.deliver() == 0
    (waits,) = rows(database, "SELECT state, due_at - now() AS due_in FROM dispatcher.deliveries")
    assert (waits.state, timedelta(0) < waits.due_in <= timedelta(minutes=2)) == ("waiting", True)
    (notice,) = rows(database, "SELECT due_at, observed_at FROM dispatcher.notices")
    assert is_now(notice.due_at)
    assert is_now(notice.observed_at)
    assert sweep(machine)["promoted"] == 0
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE dispatcher.deliveries SET due_at = now()")
        connection.exec_driver_sql("UPDATE dispatcher.leases SET until = now() - interval '1 minute'")
    assert sweep(machine)["promoted"] == 1
    assert machine.deliver() == 1
    made = machine.installation
    kept = Kept.of(dict(made.settings), made.settings.model_fields_set)
    done = upkeep(made.engine, made.vault, made.clock, machine.worker.counts, kept, circuit_breakers=True)
    assert (done["partitions"], done["partitions_left"], done["ended"]) == (0, 0, 0)


def sweep(machine: Machine) -> dict[str, int]:
    """The first call may only make the lease."""
    made, worker = machine.installation, machine.worker
    for _ in range(2):
        if swept := sweep_in_turn(worker.loop_engine, made.waker, made.timing, made.clock, worker.heartbeat):
            break
    return swept


def test_its_lease_and_its_life_count_for_the_others(database: Engine, settings: Settings, machine: Machine) -> None:
    sweep(machine)
    assert sweep_if_due(settings, Heartbeat()) == {}, "it has just swept"
    other = Heartbeat().beat(database, DELIVERS, "parked")
    machine.worker.heartbeat.beat(machine.worker.loop_engine, DELIVERS, "parked", clock=machine.installation.clock)
    assert Heartbeat().beat(database, DELIVERS, "parked").others == other.others + 2


@pytest.mark.parametrize("it_is_first", [True, False])
def test_a_rate_limit_is_kept_together_with_others(
    database: Engine, settings: Settings, receiver: Receiver, machine: Machine, it_is_first: bool
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"rate_limit": 0.01})
    change(database, "UPDATE dispatcher.rates SET used_until = now() - interval '1 hour'")
    for n in range(10):
        enqueue("a", n, account="acme", producer=machine.installation)
    workers = [machine.worker, worker_for(settings)]
    claimed = []
    for worker in workers if it_is_first else reversed(workers):
        DeliveryLoop(worker)._claim()
        claimed.append(rows(database, "SELECT count(*) AS n FROM dispatcher.deliveries WHERE state = 'claimed'")[0].n)
    assert claimed == [1, 1]


def test_its_api_stores_signs_in_and_writes_down_by_the_databases_time(
    database: Engine, settings: Settings, machine: Machine
) -> None:
    make_account(database)
    with machine.installation.transaction() as session:
        key = create_key(
            session,
            by=CommandLine("t"),
            account="acme",
            scopes=[Scope.SEND, Scope.READ],
            valid_for=timedelta(minutes=10),
        )
    with running_app(create_app(machine.installation)) as origin:
        api = Api(origin)
        stored = api.call("POST", "/v1/events", {"type": "a", "data": 1}, token=key.token)
        assert stored.status_code == 202, stored.text
        assert is_now(time_of(UUID(stored.json()["event_id"])))
        credentials = tuple(key.token.split("."))
        form = {"grant_type": "client_credentials"}
        token = requests.post(f"{origin}/oauth2/token", data=form, auth=credentials, timeout=30).json()  # type: ignore[arg-type]
        assert 590 <= token["expires_in"] <= 600
        assert api.call("GET", "/v1/events", token=token["access_token"]).status_code == 200
    (entry,) = rows(database, "SELECT id FROM dispatcher.audit WHERE action = 'key.created'")
    assert is_now(time_of(entry.id))


@pytest.mark.parametrize("wrong", [YEARS, -YEARS])
def test_a_clock_that_is_set_wrong_while_it_works_keeps_no_event_out(
    database: Engine, settings: Settings, wrong: timedelta
) -> None:
    make_account(database)
    machine = Machine(settings, timedelta(0))
    try:
        for now_wrong in (timedelta(0), wrong, timedelta(0)):
            machine.wrong = now_wrong
            events = [Event(type="a", data=n, account="acme") for n in range(3)]
            enqueue("a", 1, account="acme", producer=machine.installation)
            assert all(isinstance(one, Accepted) for one in enqueue_many(events, producer=machine.installation))
        found = rows(database, "SELECT id FROM dispatcher.events")
        assert len(found) == 12
        assert all(is_now(time_of(row.id)) for row in found)
        assert machine.installation.clock.offset == timedelta(0)
    finally:
        machine.worker.close()
        machine.installation.close()


def test_ids_of_the_database_are_like_ours_and_sort_by_time(database: Engine) -> None:
    made = []
    for _ in range(5):
        made.append(rows(database, f"SELECT {NEW_ID} AS id")[0].id)
        made.append(DatabaseClock().new_id())
    assert {(identifier.version, identifier.variant) for identifier in made} == {(7, made[1].variant)}
    assert made[::2] == sorted(made[::2])
    assert all(is_now(time_of(identifier)) for identifier in made)
    several = rows(database, f"SELECT {NEW_ID} AS id FROM generate_series(1, 100)")
    assert len({row.id for row in several}) == 100


@pytest.mark.parametrize(("wrong", "told"), [(45, "45 s ahead of"), (-45, "45 s behind"), (20, None)])
def test_a_clock_that_is_off_by_more_than_half_a_minute_is_told_once(
    database: Engine, settings: Settings, caplog: pytest.LogCaptureFixture, wrong: int, told: str | None
) -> None:
    caplog.set_level(logging.INFO, "dispatcher.db.clock")
    machine = Machine(settings, timedelta(seconds=wrong))
    beat = machine.worker.heartbeat.beat
    try:
        for _ in range(3):
            beat(machine.worker.loop_engine, DELIVERS, "parked", clock=machine.installation.clock)
        assert [record.getMessage() for record in caplog.records] == (
            [f"this machine's clock is {told} the database's, whose time is used: set it right"] if told else []
        )
        caplog.clear()
        machine.wrong = timedelta(0)
        for _ in range(2):
            beat(machine.worker.loop_engine, DELIVERS, "parked", clock=machine.installation.clock)
        assert len(caplog.records) == (1 if told else 0)
    finally:
        machine.worker.close()
        machine.installation.close()


def test_what_beat_sends_is_taken_by_a_worker_whose_clock_is_an_hour_ahead(settings: Settings) -> None:
    for entry in make_app(settings).conf.beat_schedule.values():
        assert entry["options"]["expires"] > HOUR.total_seconds() + entry["schedule"]
