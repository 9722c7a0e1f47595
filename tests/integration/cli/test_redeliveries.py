"""`dispatcher delivery redeliver-many` and `dispatcher redelivery`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.cli import redeliveries as command
from dispatcher.cli.installed import Installed
from dispatcher.db.models import Webhook
from dispatcher.deliveries import selection as selecting
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import change, deliveries, make_account, make_webhook, redeliver_more, rows
from tests.integration.cli.conftest import Cli

MANY = ("delivery", "redeliver-many")


@pytest.fixture
def webhook(database: Engine, settings: Settings) -> Webhook:
    made = make_webhook(database, settings, url="https://example.com/")
    for _ in range(3):
        enqueue("message.sent", 1, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected', finished_at = now()")
    return made


@contextmanager
def worker(settings: Settings) -> Iterator[None]:
    """Does what the maintenance worker does, until the block ends."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.05):
            redeliver_more(settings)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def states(database: Engine) -> set[str]:
    return {delivery.state for delivery in deliveries(database)}


def test_many_are_redelivered_and_the_end_is_reported(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook
) -> None:
    with worker(settings):
        ran = cli(*MANY, "--account", "acme", "--reason", "rejected", "--yes")
    assert ran.status == 0, ran.err
    (row,) = rows(database, "SELECT * FROM dispatcher.redeliveries")
    assert ran.out.endswith(f"bulk redelivery {row.id} is finished: 3 redelivered\n")
    assert states(database) == {"ready"}


def test_a_dry_run_only_counts(cli: Cli, database: Engine, webhook: Webhook) -> None:
    assert cli(*MANY, "--webhook", webhook.id, "--dry-run").out == "3 would be redelivered\n"
    assert cli(*MANY, "--account", "acme", "--type", "other", "--dry-run", "--json").document == {
        "matched": 0,
        "matched_complete": True,
    }
    assert states(database) == {"discarded"}
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []


def test_what_is_not_counted_to_the_end_is_called_so(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selecting, "COUNTED", 2)
    assert cli(*MANY, "--webhook", webhook.id, "--dry-run").out == "2 or more would be redelivered\n"
    identifier = cli(*MANY, "--account", "acme", "--per-second", 1, "--yes", "--json").document["id"]
    for expected in ("2 or more", "3"):
        shown = cli("redelivery", "show", identifier).out
        assert dict(line.split(None, 1) for line in shown.splitlines())["matched"] == expected
        assert f" {expected} " in cli("redelivery", "list", "--account", "acme").out
        redeliver_more(settings)


def test_without_a_terminal_it_asks_for_a_yes_and_does_nothing(cli: Cli, database: Engine, webhook: Webhook) -> None:
    ran = cli(*MANY, "--account", "acme")
    assert (ran.status, "3 deliveries match" in " ".join(ran.err.split()).replace("│ ", "")) == (2, True)
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []


def test_on_a_terminal_it_asks_with_the_count(
    database: Engine, installation: Installation, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def confirm(text: str, **_: Any) -> None:
        asked.append(text)
        raise SystemExit(1)

    monkeypatch.setattr(command.sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr(command.typer, "confirm", confirm)
    context: Any = SimpleNamespace(obj=Installed(lambda: installation))
    with pytest.raises(SystemExit):
        command.redeliver_many(context=context, account="acme", per_second=5)
    assert asked == ["Redeliver 3 deliveries, 5 a second?"]
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []


def test_ctrl_c_ends_the_showing_and_not_the_work(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(command.time, "sleep", interrupted)
        ran = cli(*MANY, "--account", "acme", "--yes")
    (row,) = rows(database, "SELECT * FROM dispatcher.redeliveries")
    assert (ran.status, row.cancelled_at, row.finished_at) == (130, None, None)
    assert f"dispatcher redelivery show {row.id}" in ran.err
    assert f"dispatcher redelivery cancel {row.id}" in ran.err
    redeliver_more(settings)
    assert states(database) == {"ready"}


def test_with_json_it_is_ordered_and_not_waited_for(
    cli: Cli, database: Engine, webhook: Webhook, broker: redis.Redis
) -> None:
    ordered = cli(
        *(*MANY, "--webhook", webhook.id, "--state", "discarded", "--state", "cancelled", "--since", "2020-01-01"),
        *("--per-second", 7, "--yes", "--json"),
    ).document
    assert (ordered["account"], ordered["matched"], ordered["per_second"]) == ("acme", 3, 7)
    assert (ordered["states"], ordered["since"]) == (["discarded", "cancelled"], "2020-01-01T00:00:00Z")
    assert broker.llen("upkeep") == 1
    assert cli("redelivery", "show", ordered["id"], "--json").document == ordered
    assert cli("redelivery", "list", "--account", "acme", "--json").document == [ordered]
    assert "open" in cli("redelivery", "list", "--account", "acme").out
    labels = [line[:13].strip() for line in cli("redelivery", "show", ordered["id"]).out.splitlines()]
    assert {"type", "a second", "ordered", "finished"} <= set(labels)
    assert not any("_" in label for label in labels)


def test_one_is_cancelled_once(cli: Cli, database: Engine, webhook: Webhook) -> None:
    ordered = cli(*MANY, "--account", "acme", "--yes", "--json").document
    ran = cli("redelivery", "cancel", ordered["id"])
    assert ran.out == f"bulk redelivery {ordered['id']} is cancelled after 0 of 3\n"
    again = cli("redelivery", "cancel", ordered["id"])
    assert (again.status, again.err) == (1, "Error: the bulk redelivery is cancelled already\n")


def test_what_is_refused_is_one_line(cli: Cli, database: Engine, webhook: Webhook) -> None:
    make_account(database, "other")
    ordered = cli(*MANY, "--account", "acme", "--yes", "--json").document
    assert cli(*MANY, "--yes").status == 2
    refused = cli(*MANY, "--account", "acme", "--state", "ready", "--yes")
    assert (refused.status, refused.err) == (1, "Error: states must be some of delivered, discarded and cancelled\n")
    assert cli(*MANY, "--account", "other", "--webhook", webhook.id, "--yes").err.startswith(
        "Error: there is no webhook"
    )
    for action in ("show", "cancel"):
        ran = cli("redelivery", action, ordered["id"], "--account", "other")
        assert (ran.status, ran.err) == (1, f"Error: there is no bulk redelivery '{ordered['id']}'\n")
