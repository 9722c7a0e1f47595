"""`dispatcher retention` and `dispatcher erase`."""

import json
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.cli import erase as erase_command
from dispatcher.settings import Settings
from tests.factories import MESSAGE, RECEIVED, change, deliver_all, deliveries, make_webhook, rows
from tests.integration.cli.conftest import Cli
from tests.integration.db.retained import ids, make_old
from tests.integration.db.retained import now as now  # noqa: PLC0414 - a fixture
from tests.receiver import Receiver

DAY = timedelta(days=1)


@pytest.fixture
def old(database: Engine, settings: Settings, now: datetime) -> datetime:
    """Events of yesterday, of ten days ago and of two months ago. The time."""
    make_webhook(database, settings, url="https://example.com/")
    change(database, "DELETE FROM dispatcher.audit")
    for age in (1, 10, 60):
        make_old(database, now - age * DAY)
    return now


def test_a_dry_run_shows_what_would_go_and_removes_nothing(cli: Cli, database: Engine, old: datetime) -> None:
    found = {one["kind"]: one for one in cli("retention", "--dry-run", "--json").document}
    assert list(found) == ["bodies", "events", "deliveries", "attempts", "audit", "notices"]
    assert {kind: one["days"] for kind, one in found.items()} == {kind: 7 if kind == "bodies" else 30 for kind in found}
    assert {kind: one["rows"] for kind, one in found.items() if kind in {"bodies", "deliveries", "notices"}} == {
        "bodies": 2,
        "deliveries": 1,
        "notices": 0,
    }
    # The empty weeks that the fixture made go, too.
    assert found["attempts"]["weeks"] == 2 * found["events"]["weeks"] > 0
    assert found["events"]["bytes"] > 0
    assert found["deliveries"]["oldest"][:10] == f"{old:%Y-%m-%d}"  # when the test made it
    assert [found[kind]["spared_until"] for kind in found] == [None] * 6
    shown = cli("retention", "--dry-run").out
    assert "weeks that go" in shown
    assert len(ids(database, "events")) == len(deliveries(database)) == 3


def test_a_run_removes_it_and_says_how_much(cli: Cli, database: Engine, old: datetime) -> None:
    done = cli("retention", "--json").document
    assert (done["deliveries_removed"], done["weeks_left"]) == (1, 0)
    assert len(ids(database, "events")) == len(deliveries(database)) == 2
    again = cli("retention")
    assert again.out == "removed weeks: 0, bodies: 0, deliveries: 0, notices: 0\n"


def test_a_run_removes_all_that_a_dry_run_has_just_shown(cli: Cli, database: Engine, old: datetime) -> None:
    change(database, "UPDATE dispatcher.deliveries SET finished_at = :at", at=old - 29 * DAY)
    cli("retention")  # passes by what ended later than its age says
    change(database, "UPDATE dispatcher.deliveries SET finished_at = :at", at=old - 31 * DAY)
    shown = {one["kind"]: one["rows"] for one in cli("retention", "--dry-run", "--json").document}
    assert shown["deliveries"] == 1
    assert cli("retention", "--json").document["deliveries_removed"] == 1


def test_a_setting_that_is_off_is_shown_and_holds(
    cli: Cli, database: Engine, old: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPATCHER_RETENTION_EVENTS", "off")
    monkeypatch.setenv("DISPATCHER_RETENTION_DELIVERIES", "3")
    found = {one["kind"]: one for one in cli("retention", "--dry-run", "--json").document}
    assert (found["events"]["days"], found["events"]["weeks"], found["events"]["rows"]) == (None, 0, 0)
    assert (found["deliveries"]["days"], found["deliveries"]["said"]) == (3, True)
    cli("retention")
    assert (len(ids(database, "events")), len(deliveries(database))) == (3, 1)


def test_what_is_spared_is_shown_with_its_day(cli: Cli, database: Engine, old: datetime) -> None:
    change(database, "UPDATE dispatcher.installation SET retention_from = :at", at=old + 14 * DAY)
    try:
        ran = cli("retention", "--dry-run")
        assert f"goes from {old + 14 * DAY:%Y-%m-%d %H:%M} UTC on" in ran.err
        assert cli("retention", "--json").document["deliveries_removed"] == 0
    finally:
        change(database, "UPDATE dispatcher.installation SET retention_from = NULL")


def test_a_week_that_stays_is_told_by_the_exit_status(cli: Cli, database: Engine, old: datetime) -> None:
    change(database, "UPDATE dispatcher.deliveries SET state = 'ready', finished_at = NULL")
    ran = cli("retention")
    assert (ran.status, "1 weeks could not be removed yet" in ran.err) == (1, True)
    found = {one["kind"]: one for one in cli("retention", "--dry-run", "--json").document}
    assert found["events"]["weeks_open"] == 1


def test_what_is_no_longer_kept_is_shown_so(cli: Cli, database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    change(database, "UPDATE dispatcher.requests SET answer_headers = NULL, answer_excerpt = NULL")
    assert "Answer headers and body: no longer kept" in cli("delivery", "show", delivery.id).out
    change(database, "DELETE FROM dispatcher.requests")
    change(database, "DELETE FROM dispatcher.events")
    shown = cli("delivery", "show", delivery.id).out
    assert "(no longer kept)" in shown
    assert "(the event is no longer kept)" in shown
    assert "unknown" not in shown


def test_erase_counts_asks_and_erases(cli: Cli, database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="https://example.com/")
    for subject in ("a", "a", "b"):
        enqueue(RECEIVED, MESSAGE, account="acme", subject=subject)
    assert cli("erase").status == 2
    assert cli("erase", "--subject", "a").status == 2  # there is no terminal to ask at
    wanted = {"events": 2, "events_complete": True, "open_deliveries": 2, "accounts": 1}
    assert cli("erase", "--subject", "a", "--dry-run", "--json").document == wanted
    assert rows(database, "SELECT 1 FROM dispatcher.events WHERE codec <> 0") == []
    done = cli("erase", "--subject", "a", "--account", "acme", "--yes", "--json").document
    assert done == {"events": 2, "deliveries_cancelled": 2, "events_left": 0}
    erased = rows(database, "SELECT id FROM dispatcher.events WHERE codec = 1")[0].id
    assert "(erased)" in cli("event", "show", erased).out
    assert json.loads(cli("event", "show", erased, "--json").out)["data"] is None
    assert cli("erase", "--account", "acme", "--yes").out == "1 events erased; 1 open deliveries cancelled\n"


def test_erase_says_what_is_still_being_attempted(
    cli: Cli, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase_command, "WAIT_SECONDS", 0)
    make_webhook(database, settings, url="https://example.com/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET state = 'claimed'")
    ran = cli("erase", "--account", "acme", "--yes")
    assert (ran.status, "1 events are being attempted at this moment: run it again" in ran.err) == (1, True)
