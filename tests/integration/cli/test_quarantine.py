"""What this version cannot read is shown by commands, and released by them."""

from sqlalchemy import Engine

from dispatcher.settings import Settings
from tests.factories import change, make_quarantined_notice, make_webhook, rows
from tests.integration.cli.conftest import Cli
from tests.integration.workers.test_quarantine import NEWER, put

QUARANTINED = "UPDATE dispatcher.webhooks SET quarantined_at = now(), quarantined_reason = 'odd' WHERE id = :id"


def test_a_webhook_that_cannot_be_read_is_listed_shown_and_released(
    cli: Cli, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="https://example.com/good", name="good")
    webhook = make_webhook(database, settings, url="https://example.com/odd", name="odd")
    put(database, settings, webhook.id, secrets={"basic": "planted-secret"})
    change(database, QUARANTINED, id=webhook.id)
    (listed,) = cli("webhook", "list", "--quarantined", "--json").document
    assert (listed["id"], listed["quarantined_reason"], listed["contract"]) == (str(webhook.id), "odd", None)
    assert "its stored secrets" in listed["unreadable"]
    assert len(cli("webhook", "list", "--json").document) == 2
    assert "odd" in cli("webhook", "list").out
    for command in (["show", "odd"], ["health", "odd"], ["show", "odd", "--reveal"]):
        ran = cli("webhook", *command)
        assert (ran.status, "quarantined reason" in ran.out, "planted-secret" in ran.out) == (0, True, False), ran.err
    assert "quarantined" not in cli("webhook", "show", "good").out

    released = cli("webhook", "release", "odd", "--json").document
    assert (released["quarantined_at"], released["quarantined_reason"]) == (None, None)
    assert cli("webhook", "list", "--quarantined", "--json").document == []


def test_a_webhook_of_a_newer_format_says_so(cli: Cli, database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/", name="newer")
    put(database, settings, webhook.id, format=NEWER)
    assert "a newer version wrote it" in cli("webhook", "show", "newer").out
    assert "a newer version wrote it" in cli("webhook", "health", "newer").out
    refused = cli("webhook", "update", "newer", "--timeout", 5)
    assert (refused.status, "newer version" in refused.err) == (1, True)


def test_a_quarantined_notice_is_listed_and_released(cli: Cli, database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="https://example.com/")
    notice = make_quarantined_notice(database)
    assert str(notice) in cli("notice", "list", "--account", "acme", "--quarantined").out
    released = cli("notice", "release", notice, "--json").document
    assert (released["id"], released["quarantined_at"]) == (str(notice), None)
    (row,) = rows(database, "SELECT due_at, quarantined_at FROM dispatcher.notices")
    assert (row.due_at is not None, row.quarantined_at) == (True, None)
    unknown = cli("notice", "release", "0198a6df-02bb-7c68-b0a9-2c4e6f8a1b3d")
    assert (unknown.status, "there is no notice" in unknown.err) == (1, True)
