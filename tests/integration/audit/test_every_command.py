"""Each command that changes something leaves one entry in the audit log; a new one cannot be forgotten."""

import os
import pwd
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import typer
from cryptography.fernet import Fernet
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.accounts.audit import Action
from dispatcher.cli.app import app
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings
from tests.conftest import ENCRYPTION_KEY
from tests.factories import (
    TESTER,
    change,
    deliveries,
    forget_encryption,
    make_portal_link,
    make_quarantined_notice,
    make_recipient,
    make_webhook,
)
from tests.integration.audit.conftest import entries, forget
from tests.integration.cli.conftest import Cli

CHANGES = {
    "account create": (Action.ACCOUNT_CREATED, ["globex"]),
    "account delete": (Action.ACCOUNT_DELETED, ["acme", "--yes"]),
    "account limits": (Action.ACCOUNT_LIMITED, ["acme", "--set", "webhooks=5"]),
    "account portal-link": (Action.LINK_MADE, ["acme"]),
    "account end-portal-sessions": (Action.PORTAL_SESSIONS_ENDED, ["acme"]),
    "console-link": (Action.LINK_MADE, []),
    "account suspend": (Action.ACCOUNT_SUSPENDED, ["acme"]),
    "account resume": (Action.ACCOUNT_RESUMED, ["acme"]),
    "key create": (Action.KEY_CREATED, ["--account", "acme"]),
    "key revoke": (Action.KEY_REVOKED, ["{key}"]),
    "webhook create": (
        Action.WEBHOOK_CREATED,
        ["--account", "acme", "--url", "https://example.com/", "--type", "*"],
    ),
    "webhook show": (Action.WEBHOOK_SECRETS_SHOWN, ["{webhook}", "--reveal"]),
    "webhook update": (Action.WEBHOOK_CHANGED, ["{webhook}", "--name", "new"]),
    "webhook rotate-secret": (Action.WEBHOOK_KEY_ROTATED, ["{webhook}"]),
    "webhook enable": (Action.WEBHOOK_ENABLED, ["{webhook}"]),
    "webhook disable": (Action.WEBHOOK_DISABLED, ["{webhook}", "--reason", "moving house"]),
    "webhook release": (Action.WEBHOOK_RELEASED, ["{webhook}"]),
    "notice release": (Action.NOTICE_RELEASED, ["{notice}"]),
    "contact confirm": (Action.CONTACT_CONFIRMED, ["{contact}", "--account", "acme"]),
    "contact unsubscribe": (Action.CONTACT_UNSUBSCRIBED, ["{contact}", "--account", "acme"]),
    "webhook delete": (Action.WEBHOOK_DELETED, ["{webhook}", "--yes"]),
    "event send-again": (Action.DELIVERY_REDELIVERED, ["{event}", "--webhook", "{webhook}"]),
    "webhook replay": (Action.REDELIVERY_ORDERED, ["{webhook}", "--since", "1d", "--yes", "--json"]),
    "delivery redeliver": (Action.DELIVERY_REDELIVERED, ["{delivery}"]),
    "delivery cancel": (Action.DELIVERY_CANCELLED, ["{delivery}"]),
    "delivery redeliver-many": (Action.REDELIVERY_ORDERED, ["--account", "acme", "--yes", "--json"]),
    "redelivery cancel": (Action.REDELIVERY_CANCELLED, ["{redelivery}"]),
    "erase": (Action.MESSAGES_ERASED, ["--account", "acme", "--yes"]),
    "trigger": (Action.EVENT_TRIGGERED, ["message.sent", "--account", "acme"]),
    "secrets rotate": (Action.SECRETS_ROTATED, []),
}

NOT_NOTED = {
    "enqueue": "takes events in",
    "migrate": "makes the log itself",
    "retention": "removes what upkeep removes",
    **dict.fromkeys(("listen", "up", "demo"), "runs something"),
    **dict.fromkeys(("settings", "roles", "openapi", "engine", "secrets generate-key"), "changes no database"),
    **dict.fromkeys(
        (
            *("audit-log", "account list", "account show", "key list", "webhook list", "webhook health", "notice list"),
            *("contact list", "account usage"),
            *("delivery list", "delivery show", "redelivery list", "redelivery show", "event list", "event show"),
            *("explain", "doctor", "status", "series"),
        ),
        "only looks",
    ),
}


def commands(command: Any, *path: str) -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield " ".join(path)
        return
    for name, below in command.commands.items():
        yield from commands(below, *path, name)


def test_every_command_is_looked_at_here() -> None:
    assert CHANGES.keys() | NOT_NOTED.keys() == set(commands(typer.main.get_command(app)))


@pytest.fixture(autouse=True)
def _console_where_it_is_needed(request: pytest.FixtureRequest) -> None:
    if any(word in request.node.name for word in ("portal", "console")):
        request.getfixturevalue("console_on")


@pytest.fixture
def known(database: Engine, settings: Settings, request: pytest.FixtureRequest) -> dict[str, str]:
    """Ids of what there is to change."""
    webhook = make_webhook(database, settings, url="https://example.com/hook")
    enqueue("message.sent", 1, account="acme")
    if "delivery cancel" not in request.node.name:
        change(database, "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected'")
    if "webhook release" in request.node.name:
        change(database, "UPDATE dispatcher.webhooks SET quarantined_at = now()")
    if "end-portal-sessions" in request.node.name:
        make_portal_link(database, settings)
    if "account resume" in request.node.name:
        change(database, "UPDATE dispatcher.accounts SET suspended_at = now()")
    with Session(database) as session, session.begin():
        account = find_account(session, "acme")
        return {
            "webhook": str(webhook.id),
            "delivery": str(deliveries(database)[0].id),
            "event": str(deliveries(database)[0].event_id),
            "notice": str(make_quarantined_notice(database)),
            "contact": str(make_recipient(database)),
            "redelivery": str(order(session, account, Selection(), by=TESTER).id),
            "key": str(create_key(session, by=TESTER, account="acme", scopes=[Scope.READ]).id),
        }


@pytest.mark.parametrize("command", CHANGES)
def test_it_leaves_one_entry_which_says_by_whom(
    command: str, cli: Cli, database: Engine, known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    action, options = CHANGES[command]
    if action is Action.SECRETS_ROTATED:
        monkeypatch.setenv("DISPATCHER_ENCRYPTION_KEYS", f"{Fernet.generate_key().decode()},{ENCRYPTION_KEY}")
    monkeypatch.setenv("USER", "somebody else")
    monkeypatch.setenv("LOGNAME", "somebody else")
    forget(database)
    ran = cli(*command.split(), *(option.format(**known) for option in options))
    if action is Action.SECRETS_ROTATED:
        forget_encryption(database)
    assert ran.status == 0, ran.err
    (entry,) = entries(database)
    assert (entry.action, entry.target_kind) == (action, action.partition(".")[0])
    assert (entry.actor_kind, entry.actor) == ("command_line", "command line")
    assert entry.user_label == pwd.getpwuid(os.getuid()).pw_name
    assert (entry.key_id, entry.dialect, entry.request_id, entry.address) == (None, None, None, None)


def test_a_test_event_is_noted_with_the_webhook(cli: Cli, database: Engine, known: dict[str, str]) -> None:
    forget(database)
    event = cli("trigger", "message.sent", "--webhook", known["webhook"], "--json").document["event_id"]
    (entry,) = entries(database)
    assert (entry.action, str(entry.target_id), entry.detail["event"]) == ("webhook.tested", known["webhook"], event)


@pytest.mark.parametrize(
    "arguments",
    [
        ["account", "create", "acme"],
        ["account", "delete", "acme"],  # there is no terminal to ask at
        ["key", "create", "--account", "nobody"],
        ["key", "revoke", uuid4()],
        ["webhook", "create", "--account", "acme", "--url", "ftp://example.com/", "--type", "*"],
        ["webhook", "update", "{webhook}", "--url", "http://10.0.0.1/"],
        ["webhook", "disable", "{webhook}", "--reason", "two\nlines"],
        ["webhook", "delete", "{webhook}"],  # there is no terminal to ask at
        ["webhook", "show", "{webhook}"],
        ["webhook", "show", "{webhook}", "--reveal", "--account", "nobody"],
        ["delivery", "cancel", uuid4()],
        ["delivery", "redeliver", uuid4()],
        ["event", "send-again", uuid4(), "--webhook", "{webhook}"],
        ["webhook", "replay", "{webhook}", "--since", "1d", "--dry-run"],
        ["delivery", "redeliver-many", "--account", "acme", "--dry-run"],
        ["redelivery", "cancel", uuid4()],
        ["trigger", "message.sent", "--account", "nobody"],
        ["erase", "--account", "acme"],  # there is no terminal to ask at
        ["erase", "--account", "acme", "--dry-run"],
        ["erase", "--subject", "nothing", "--yes"],
        ["secrets", "rotate"],  # all is under the newest key
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_what_changes_nothing_leaves_none(
    arguments: list[Any], cli: Cli, database: Engine, known: dict[str, str]
) -> None:
    forget(database)
    cli(*(str(argument).format(**known) for argument in arguments))
    assert entries(database) == []


def test_what_is_done_already_is_not_noted_again(cli: Cli, database: Engine, known: dict[str, str]) -> None:
    forget(database)
    for _ in range(2):
        cli("account", "resume", "acme")
        cli("key", "revoke", known["key"])
        cli("webhook", "disable", known["webhook"])
        cli("webhook", "update", known["webhook"])
    for _ in range(2):
        cli("account", "suspend", "acme")
    assert [entry.action for entry in entries(database)] == ["key.revoked", "webhook.disabled", "account.suspended"]
