"""A name does where an id does, if it is clear which one is meant."""

from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.factories import make_account, make_webhook
from tests.integration.cli.conftest import Cli

NEW = ("webhook", "create", "--url", "https://example.com/hook", "--type", "*", "--json")


@pytest.fixture
def orders(cli: Cli) -> str:
    """A webhook of that name; its id."""
    cli("account", "create", "acme")
    return str(cli(*NEW, "--account", "acme", "--name", "orders").document["id"])


def test_a_webhook_goes_by_its_name(cli: Cli, orders: str, database: Engine) -> None:
    enqueue("message.sent", 1, account="acme")
    assert cli("webhook", "show", "orders", "--json").document["id"] == orders
    assert cli("webhook", "health", "orders", "--json").document["enabled"]
    assert cli("webhook", "update", "orders", "--timeout", 5, "--json").document["contract"]["timeout_seconds"] == 5
    assert not cli("webhook", "disable", "orders", "--json").document["enabled"]
    assert cli("webhook", "enable", "orders", "--account", "acme", "--json").document["enabled"]
    assert len(cli("webhook", "rotate-secret", "orders", "--json").document["signing_keys"]) == 2
    assert len(cli("delivery", "list", "--webhook", "orders", "--json").document) == 1
    assert cli("notice", "list", "--account", "acme", "--webhook", "orders", "--json").document == []
    assert cli("trigger", "message.sent", "--webhook", "orders", "--json").document["deliveries"] == 1
    counted = cli("delivery", "redeliver-many", "--webhook", "orders", "--dry-run", "--json")
    assert counted.document["matched"] == 0
    assert cli("webhook", "delete", "orders", "--yes", "--json").document["id"] == orders
    gone = cli("webhook", "show", "orders")
    advice = "`dispatcher webhook list` lists the webhooks.\n"
    assert (gone.status, gone.err) == (1, f"Error: there is no webhook 'orders'\n{advice}")


def test_a_name_that_two_accounts_use_is_not_guessed(cli: Cli, orders: str) -> None:
    cli("account", "create", "globex")
    theirs = cli(*NEW, "--account", "globex", "--name", "orders").document["id"]
    ran = cli("webhook", "disable", "orders")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == (
        f"Error: there are 2 webhooks 'orders': {orders} of acme, {theirs} of globex; give --account, or the id\n"
    )
    assert all(each["enabled"] for each in cli("webhook", "list", "--json").document)
    assert cli("webhook", "show", "orders", "--account", "globex", "--json").document["id"] == theirs


def test_what_looks_like_an_id_is_one(cli: Cli, orders: str) -> None:
    other = cli(*NEW, "--account", "acme", "--name", orders).document["id"]
    assert cli("webhook", "show", orders, "--json").document["id"] == orders != other


def test_an_account_goes_by_its_id(cli: Cli, orders: str) -> None:
    account = cli("account", "list", "--json").document[0]["id"]
    assert cli("webhook", "list", "--account", account, "--json").document[0]["id"] == orders
    assert cli(*NEW, "--account", account, "--name", "more").document["account"] == "acme"
    assert cli("key", "create", "--account", account, "--json").status == 0
    assert cli("enqueue", "--account", account, "--type", "a", "-", stdin="1\n").status == 0
    assert cli("event", "list", "--account", account, "--json").document[0]["type"] == "a"
    assert cli("trigger", "a", "--account", account).status == 0
    assert cli("audit-log", "--account", account, "--json").document[0]["account"] == "acme"
    unknown = cli("webhook", "list", "--account", orders)
    assert (unknown.status, unknown.err.splitlines()[0]) == (1, f"Error: there is no account '{orders}'")


def test_a_key_goes_by_its_name_until_two_have_it(cli: Cli, orders: str) -> None:
    def make() -> str:
        made = cli("key", "create", "--account", "acme", "--name", "backend", "--json")
        return str(UUID(made.document["id"]))

    first, second = make(), make()
    ran = cli("key", "revoke", "backend")
    assert ran.status == 1
    assert f"there are 2 keys 'backend': {first} of acme, {second} of acme; give the id" in ran.err
    assert cli("key", "revoke", first).status == 0
    assert cli("key", "revoke", "backend", "--json").document["id"] == second
    assert cli("key", "revoke", "backend").status == 1
    assert cli("audit-log", "--key", first, "--json").document == []


def test_times_can_be_so_long_ago(cli: Cli, database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="http://a.test/")
    enqueue("message.sent", 1, account="acme")

    def listed(*options: str) -> int:
        return len(cli("event", "list", "--account", "acme", "--json", *options).document)

    assert [listed("--since", "1h"), listed("--until", "1h"), listed("--since", "0s")] == [1, 0, 0]
    assert len(cli("delivery", "list", "--account", "acme", "--since", "15m", "--json").document) == 1
    assert len(cli("audit-log", "--since", "1w", "--json").document) > 0
    wrong = cli("event", "list", "--account", "acme", "--since", "yesterday")
    assert wrong.status == 2
    assert wrong.err.startswith("Error: --since must be a time such as 2025-01-31")


def test_an_unknown_account_comes_with_those_that_exist_and_how_to_make_one(cli: Cli, database: Engine) -> None:
    def hint() -> str:
        ran = cli("webhook", "list", "--account", "acmee")
        error, advice = ran.err.splitlines()
        assert (ran.status, error) == (1, "Error: there is no account 'acmee'")
        return advice

    make = "`dispatcher account create NAME` makes one."
    assert hint() == f"There are no accounts yet. {make}"
    for name in ("globex", "acme"):
        make_account(database, name)
    assert hint() == f"The accounts are: acme, globex. {make}"
    for number in range(9):
        make_account(database, f"more-{number}")
    assert hint() == f"`dispatcher account list` lists the accounts. {make}"
