"""The checks of the engine's processes and of what waits for them."""

import time
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.db.heartbeat import DELIVERS, Asked, Fault, Heartbeat
from dispatcher.diagnosis.checks import listed
from dispatcher.diagnosis.findings import worst
from dispatcher.diagnosis.running import Patient, examined
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from tests.factories import MESSAGE, RECEIVED, change, deliveries, make_quarantined_notice, make_webhook, rows
from tests.installations import installation_for
from tests.integration.diagnosis.patients import all_alive, beat, found_by, level_of
from workers import trials

SWEPT = Asked("sweep", timedelta(seconds=15)), Asked("upkeep", timedelta(seconds=60))
OF_ENGINE = [check.name for check in listed.CHECKS if check.group == "engine" and check.name != "claim"]


@pytest.mark.parametrize("name", OF_ENGINE)
def test_an_engine_that_runs_is_said_to_be_well(name: str, settings: Settings, database: Engine) -> None:
    all_alive(database)
    for asked in SWEPT:
        beat(database, DELIVERS, asked=asked)
    make_webhook(database, settings, url="https://example.com/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    (found,) = found_by(name, settings)
    assert (found.level, found.advice) == ("ok", ""), found


def test_processes_that_are_not_there_are_named_with_how_to_start_them(settings: Settings, database: Engine) -> None:
    found = {one.where: one for one in found_by("heartbeats", settings)}
    assert {kind: str(one.level) for kind, one in found.items()} == {
        "deliver": "fail",
        "maintenance": "fail",
        "api": "warn",
    }
    assert "`python -P -m workers deliver`" in found["deliver"].advice


def test_a_heartbeat_that_is_old_fails(settings: Settings, database: Engine) -> None:
    all_alive(database)
    change(database, "UPDATE dispatcher.processes SET seen_at = now() - interval '5 minutes' WHERE kind = 'deliver'")
    (found,) = found_by("heartbeats", settings)
    assert (found.level, found.where, "5 min ago" in found.says) == ("fail", "deliver", True)


def test_versions_side_by_side_are_told_with_their_hosts(settings: Settings, database: Engine) -> None:
    all_alive(database)
    change(database, "UPDATE dispatcher.processes SET version = '0.2.0', host = 'old-one' WHERE kind = 'api'")
    (found,) = found_by("versions", settings)
    assert (found.level, "0.2.0 on old-one" in found.says) == ("warn", True)


def test_a_fault_of_a_host_fails_with_what_to_look_at(settings: Settings, database: Engine) -> None:
    beat(database, DELIVERS, fault=Fault("tls", timedelta(minutes=5)))
    (found,) = found_by("host_faults", settings)
    assert (found.level, "for 5 min" in found.says, "--handshake" in found.advice) == ("fail", True, True)


def test_a_host_whose_clock_was_off_when_a_process_began_is_named(settings: Settings, database: Engine) -> None:
    heartbeat = Heartbeat()
    heartbeat.id = new_id(time.time_ns() + 3_600 * 10**9)  # as a process there makes it
    heartbeat.beat(database, DELIVERS, "parked")
    (found,) = found_by("host_clocks", settings)
    assert (found.level, "60 min ahead of" in found.says) == ("warn", True)


def test_a_sweep_that_nobody_does_fails(settings: Settings, database: Engine) -> None:
    assert [one.level for one in found_by("sweep", settings)] == ["warn", "warn"]  # never done
    for asked in SWEPT:
        beat(database, DELIVERS, asked=asked)
    change(database, "UPDATE dispatcher.leases SET until = now() - interval '2 minutes' WHERE name = 'sweep'")
    (found,) = found_by("sweep", settings)
    assert (found.level, found.where) == ("fail", "sweep")


def test_a_delivery_that_nothing_keeps_is_late_after_a_while(settings: Settings, database: Engine) -> None:
    make_webhook(database, settings, url="https://example.com/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET due_at = now() - interval '2 minutes'")
    (found,) = found_by("backlog", settings)
    assert (found.level, "2 min" in found.says) == ("fail", True)
    change(database, "UPDATE dispatcher.webhooks SET enabled = false")
    assert level_of("backlog", settings) == "ok"


def test_what_is_quarantined_is_named_with_the_command(settings: Settings, database: Engine) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    change(database, "UPDATE dispatcher.webhooks SET quarantined_at = now(), quarantined_reason = 'odd'")
    make_quarantined_notice(database)
    first, second = found_by("quarantine", settings)
    assert (first.level, first.where, "is put aside: odd" in first.says) == ("warn", str(webhook.id), True)
    assert f"`dispatcher webhook release {webhook.id}`" in first.advice
    assert (second.level, "1 notice is" in second.says) == ("warn", True)
    assert "`dispatcher notice list --quarantined --account acme`" in second.advice


def test_a_trial_claim_is_timed_and_leaves_all_as_it_was(
    settings: Settings, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_webhook(database, settings, url="https://example.com/", rate_limit=10)
    enqueue(RECEIVED, MESSAGE, account="acme")
    left = "SELECT * FROM dispatcher.deliveries", "SELECT * FROM dispatcher.rates"
    before = [rows(database, statement) for statement in left]
    (found,) = trials.claim(Patient(installation_for(settings)))
    assert (found.level, found.says.startswith("a claim takes "), "nothing is ready" in found.says) == (
        "ok",
        True,
        False,
    )
    assert [rows(database, statement) for statement in left] == before
    assert [row.state for row in deliveries(database)] == ["ready"]
    monkeypatch.setattr(trials, "SLOW_CLAIM", (-1.0, 9.0))
    assert worst(trials.claim(Patient(installation_for(settings)))) == "warn"


def test_a_role_that_may_not_claim_is_told_so(settings: Settings, database: Engine) -> None:
    change(database, "REVOKE UPDATE ON dispatcher.deliveries FROM CURRENT_USER")
    try:
        (found,) = examined(trials.claim, Patient(installation_for(settings)))
    finally:
        change(database, "GRANT UPDATE ON dispatcher.deliveries TO CURRENT_USER")
    assert (found.level, "deliveries" in found.says) == ("not_checked", True), found
