"""`dispatcher status`: one screen, a bounded number of statements."""

import json
import os
import pty
import select
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import Engine, event

from dispatcher import enqueue
from dispatcher.cli.status_screen import screen
from dispatcher.db.heartbeat import DELIVERS, Fault
from dispatcher.diagnosis import statements
from dispatcher.diagnosis.oldest_due import Round
from dispatcher.diagnosis.overview import Overview, read_overview
from dispatcher.diagnosis.running import reading_engine
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import MESSAGE, RECEIVED, change, deliver_all, make_webhook, rows
from tests.forked import Forked
from tests.installations import installation_for
from tests.integration.cli.conftest import Cli
from tests.integration.db.retained import plans_of, whole_reads
from tests.integration.diagnosis.patients import all_alive, beat
from tests.integration.diagnosis.test_engine_checks import SWEPT
from tests.many_rows import make_many, make_many_open, make_many_webhooks
from tests.receiver import Receiver

MOST_STATEMENTS = 9

Look = Callable[[], Overview]


@pytest.fixture
def look(settings: Settings) -> Look:
    def do() -> Overview:
        engine = reading_engine(installation_for(settings), "tests", statement=4)
        with engine.connect() as connection:
            return read_overview(connection, Round())

    return do


def lines_of(overview: Overview, height: int = 24, width: int = 80) -> list[str]:
    """As a terminal shows them."""
    console = Console(width=width, height=height, force_terminal=False)
    with console.capture() as captured:
        for line in screen(overview, {"API": "http://127.0.0.1:8080", "Flower": "http://127.0.0.1:5555"}, height):
            line.truncate(width, overflow="ellipsis")
            console.print(line, no_wrap=True)
    return captured.get().splitlines()


@pytest.fixture
def busy(database: Engine, settings: Settings, receiver: Receiver) -> None:
    """An installation that runs: 3 messages were delivered, 3 failed for now, and a circuit is open."""
    all_alive(database)
    for asked in SWEPT:
        beat(database, DELIVERS, asked=asked)
    receiver.script("/bad", Answer(503))
    make_webhook(database, settings, url=receiver.url("/good"), name="good")
    make_webhook(database, settings, url=receiver.url("/bad"), name="bad")
    for _ in range(3):
        enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    change(database, "UPDATE dispatcher.webhooks SET name = 'bad' || chr(27) || '[31m' WHERE name = 'bad'")
    change(
        database,
        "UPDATE dispatcher.circuit_breakers SET opened_at = now(), trial_at = now() + interval '90 s', failures = 7",
    )


def test_it_says_what_waits_what_came_and_who_fails(cli: Cli, busy: None) -> None:
    found = cli("status", "--json").document
    assert found["problems"] == []
    assert {name: found["deliveries"][name] for name in ("ready", "claimed", "waiting")} == {
        "ready": 0,
        "claimed": 0,
        "waiting": 3,
    }
    assert {name: round(60 * value) for name, value in found["per_second"].items()} == {
        "accepted": 3,
        "delivered": 3,
        "failed": 3,
    }
    (worst,) = found["webhooks"]["worst"]
    assert (found["webhooks"]["failing"], found["webhooks"]["circuits_open"]) == (1, 1)
    assert (worst["account"], worst["failures"], worst["circuit_open"]) == ("acme", 7, True)
    assert 80 < worst["trial_in"] <= 90
    assert {one["kind"] for one in found["processes"] if one["lives"]} == {"api", "deliver", "maintenance"}
    assert set(found["leases_overdue_seconds"]) == {"sweep", "upkeep"}


def test_a_small_installation_fits_a_small_terminal(look: Look, busy: None) -> None:
    lines = lines_of(look())
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for words in (
        "0 ready",
        "3 waiting",
        "1 circuits open",
        "No problems in the database",
        "open, trial in",
        "http://127.0.0.1:8080",
    ):
        assert words in text
    assert "\x1b" not in text


def test_a_large_one_is_shortened_to_the_terminal_and_problems_come_first(
    look: Look, busy: None, database: Engine
) -> None:
    for number in range(30):
        beat(database, DELIVERS, fault=Fault("tls", timedelta(seconds=9)))
        change(database, f"UPDATE dispatcher.processes SET host = 'host-{number}' WHERE host NOT LIKE 'host-%'")
    overview = look()
    for height in (24, 30, 50):
        lines = lines_of(overview, height)
        assert len(lines) <= height
        assert "FAIL" in "\n".join(lines)
        assert any(line.startswith("and ") and line.endswith(" more") for line in lines)
    lines = lines_of(overview, 10_000)
    assert not any(line.startswith("and ") for line in lines)
    assert sum(line.startswith("FAIL") for line in lines) == len(overview.problems) >= 30


def test_a_problem_is_a_line_and_all_lead_to_the_doctor(cli: Cli, database: Engine) -> None:
    ran = cli("status")
    assert ran.status == 0
    lines = ran.out.splitlines()
    begins = lines.index("Problems: `dispatcher doctor` says what to do")
    assert lines[begins + 1] == "FAIL  deliver: no deliver process lives"
    assert all(line.startswith(("FAIL", "WARN")) for line in lines[begins + 1 :])


def test_it_costs_a_few_statements_none_of_which_reads_a_whole_table(
    look: Look, busy: None, database: Engine, settings: Settings
) -> None:
    (webhook,) = [row.id for row in rows(database, "SELECT id FROM dispatcher.webhooks WHERE name = 'good'")]
    make_many(database, webhook)
    make_many_open(database, webhook, 3_000)
    change(database, "ANALYZE")
    engine = reading_engine(installation_for(settings), "tests", statement=4)
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    with plans_of(engine) as plans, engine.connect() as connection:
        read_overview(connection, Round())
    assert len(said) <= MOST_STATEMENTS
    assert len(plans) == 6  # of those with a condition
    assert whole_reads(database, plans) == []


def test_where_more_came_than_is_counted_the_rate_is_of_a_shorter_time(
    look: Look, busy: None, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "RATED", 3)
    time.sleep(0.1)
    assert look().rates.accepted > 3 / 60


def test_of_many_that_fail_the_worst_are_named_and_the_others_counted(look: Look, busy: None, database: Engine) -> None:
    make_many_webhooks(database, 10)  # of each of the two
    change(
        database,
        "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since)"
        " SELECT id, number, now() FROM dispatcher.webhooks WHERE name IS DISTINCT FROM 'good' ON CONFLICT DO NOTHING",
    )
    overview = look()
    failures = [one.failures for one in overview.failing]
    assert failures == [7, *sorted(failures[1:], reverse=True)]  # the one with an open circuit first
    assert (len(failures), overview.failing_count) == (statements.SHOWN_FAILING, 21)
    for height in (24, 23):
        lines = lines_of(overview, height)
        assert len(lines) <= height
        shown = sum(line.startswith("acme ") for line in lines)
        assert lines[-1] == f"and {21 - shown} more"


def test_a_pause_is_for_watching(cli: Cli, database: Engine) -> None:
    ran = cli("status", "5")
    assert (ran.status, "SECONDS is for --watch" in ran.err) == (2, True)


def watched(environment: dict[str, str], *arguments: str, terminal: bool, until: Callable[[bytes], bool]) -> Any:
    """What it wrote until Ctrl-C, and its exit status."""
    ours, its = pty.openpty() if terminal else os.pipe()
    variables = {**os.environ, **environment, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = Forked(("dispatcher", "status", "--watch", *arguments), variables, stdout=its)
    os.close(its)
    wrote, deadline, told = b"", time.monotonic() + 60, False
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                more = os.read(ours, 65_536)
            except OSError:  # a terminal whose other end is closed
                break
            if not more:
                break
            wrote += more
        if not told and until(wrote):
            process.send_signal(signal.SIGINT)
            told = True
    status = process.wait(60)
    os.close(ours)
    return wrote, status


def test_watching_draws_in_place_at_a_terminal_and_ends_with_zero(environment: dict[str, str], busy: None) -> None:
    wrote, status = watched(environment, "0.5", terminal=True, until=lambda text: text.count(b"circuits open") >= 2)
    assert status == 0, wrote
    assert b"\x1b[1A" in wrote  # up a line
    assert b"Traceback" not in wrote


def test_watching_into_a_pipe_prints_one_after_the_other_as_json_a_line_each(
    environment: dict[str, str], busy: None
) -> None:
    wrote, status = watched(environment, "0.5", "--json", terminal=False, until=lambda text: text.count(b"\n") >= 2)
    assert status == 0, wrote
    documents = [json.loads(line) for line in wrote.splitlines()]
    assert {one["webhooks"]["circuits_open"] for one in documents} == {1}
    assert documents[0]["at"] < documents[1]["at"]
