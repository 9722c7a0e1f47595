"""Links that commands make, and how sessions in the portal are ended."""

from urllib.parse import urlsplit
from uuid import UUID

import pytest

from dispatcher.accounts.actor import Call
from dispatcher.accounts.portal_links import take
from dispatcher.accounts.sessions import ConsoleSession, find
from dispatcher.installation import Installation
from tests.integration.cli.conftest import Cli


@pytest.fixture(autouse=True)
def _console(console_on: None) -> None:
    pass


def followed(installation: Installation, url: str) -> tuple[ConsoleSession, str]:
    identifier, _, secret = urlsplit(url).fragment.partition(".")
    with installation.transaction() as session:
        begun, shown, _ = take(session, UUID(identifier), secret, installation.clock(), call=Call(UUID(int=1), None))
        assert find(session, begun.kind, shown, installation.clock()) == begun
    return begun, shown


@pytest.mark.parametrize(("options", "scope"), [([], "operator"), (["--scope", "observe"], "observe")])
def test_a_link_to_the_console_logs_in_without_a_key(
    cli: Cli, installation: Installation, options: list[str], scope: str
) -> None:
    made = cli("console-link", *options)
    assert made.out.startswith("https://hooks.example/console/enter#")
    begun, _ = followed(installation, made.out.strip())
    assert (begun.kind, begun.scopes, begun.key_id, begun.account) == ("console", {scope}, None, None)
    assert (begun.expires_at - begun.created_at).total_seconds() == 8 * 3600


def test_a_link_to_the_portal_lets_a_customer_in_and_their_sessions_can_be_ended(
    cli: Cli, installation: Installation
) -> None:
    cli("account", "create", "acme")
    made = cli("account", "portal-link", "acme", "--scope", "read", "--scope", "manage", "--user", "u-17", "--json")
    begun, secret = followed(installation, made.document["url"])
    assert (begun.account, begun.scopes, begun.user_label) == ("acme", {"read", "manage"}, "u-17")
    assert cli("account", "portal-link", "acme").out.startswith("https://hooks.example/portal/enter#")
    assert cli("account", "end-portal-sessions", "acme").out == "1 portal sessions of account acme ended\n"
    with installation.transaction() as session:
        assert find(session, "portal", secret, installation.clock()) is None
    assert cli("account", "end-portal-sessions", "acme", "--json").document == {"ended": 0}


def test_what_cannot_be_chosen_is_said(cli: Cli) -> None:
    cli("account", "create", "acme")
    refused = cli("account", "portal-link", "acme", "--path", "//evil.example")
    assert (refused.status, refused.out) == (1, "")
    assert "path must be the path of a page in the portal" in refused.err


def test_without_a_console_there_are_no_links(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("account", "create", "acme")
    monkeypatch.setenv("DISPATCHER_CONSOLE", "off")
    for command in (["console-link"], ["account", "portal-link", "acme"]):
        refused = cli(*command)
        assert (refused.status, "DISPATCHER_CONSOLE=on" in refused.err) == (1, True)
