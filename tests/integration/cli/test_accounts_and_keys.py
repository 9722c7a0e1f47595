"""`dispatcher account` and `dispatcher key`."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from dispatcher.accounts.api_keys import Scope, authenticate
from dispatcher.db.models import ApiKey
from dispatcher.settings import Settings
from tests.factories import change, make_webhook
from tests.integration.cli.conftest import Cli


def test_an_account_is_made_and_listed(cli: Cli) -> None:
    assert cli("account", "create", "zeta").status == 0
    made = cli("account", "create", "acme", "--json").document
    assert [item["name"] for item in cli("account", "list", "--json").document] == ["acme", "zeta"]
    assert made["id"] in cli("account", "list").out


def test_an_account_name_in_use_or_bad_is_refused_in_one_line(cli: Cli) -> None:
    cli("account", "create", "acme")
    taken = cli("account", "create", "acme")
    assert (taken.status, taken.out) == (1, "")
    assert taken.err == "Error: there is already an account 'acme'\n"
    assert cli("account", "create", " acme").err.startswith("Error: name must have")


def test_an_account_is_suspended_and_resumed_by_name_or_id(cli: Cli) -> None:
    made = cli("account", "create", "acme", "--json").document
    assert cli("account", "suspend", "acme").out == "account acme is suspended\n"
    assert cli("account", "list", "--json").document[0]["suspended_at"] is not None
    assert cli("account", "resume", made["id"]).out == "account acme is active\n"
    assert cli("account", "list", "--json").document == [made]
    assert cli("account", "suspend", "nobody").err.startswith("Error: there is no account 'nobody'\n")


def test_an_account_is_deleted_only_if_that_is_confirmed_and_says_what_goes(
    cli: Cli, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    refused = cli("account", "delete", "acme")
    assert (refused.status, "give --yes" in refused.err) == (2, True)
    deleted = cli("account", "delete", "acme", "--yes")
    assert deleted.out == "account acme is being deleted (webhooks: 1, deliveries: 0)\n"
    shown = cli("account", "show", "acme", "--json").document
    assert (shown["webhooks"], shown["deliveries"], shown["deleted_at"] is not None) == (1, 0, True)
    assert "deleted at" in cli("account", "show", shown["id"]).out
    assert cli("account", "list", "--json").document[0]["deleted_at"] == shown["deleted_at"]
    for used in (["key", "create", "--account", "acme"], ["webhook", "list", "--account", shown["id"]]):
        assert cli(*used).err.startswith("Error: there is no account ")


def test_limits_are_shown_set_and_left_to_the_installation_again(cli: Cli) -> None:
    cli("account", "create", "acme")
    assert "1,000" in cli("account", "limits", "acme").out
    changed = cli("account", "limits", "acme", "--set", "webhooks=7", "--set", "events_per_day=off", "--json").document
    assert changed["own"] == {"webhooks": 7, "events_per_day": None}
    assert (changed["limits"]["webhooks"], changed["limits"]["events_per_day"]) == (7, None)
    assert "this account" in cli("account", "limits", "acme").out
    again = cli("account", "limits", "acme", "--set", "webhooks=default", "--set", "keys=1", "--json").document
    assert again["own"] == {"events_per_day": None, "keys": 1}
    cli("key", "create", "--account", "acme")
    refused = cli("key", "create", "--account", "acme")
    assert refused.err == "Error: the account may have 1 API keys that are valid (its limit `keys`), and has as many\n"


@pytest.mark.parametrize("change", ["webhooks", "webhooks=0", "hooks=1", "webhooks=default,webhooks=1"])
def test_a_limit_that_cannot_be_is_refused(cli: Cli, change: str) -> None:
    cli("account", "create", "acme")
    assert cli("account", "limits", "acme", "--set", change).status == 2
    assert cli("account", "limits", "acme", "--json").document["own"] == {}


def test_a_new_keys_token_is_all_of_stdout_and_opens_its_scopes(cli: Cli, database: Engine) -> None:
    cli("account", "create", "acme")
    made = cli("key", "create", "--account", "acme", "--scope", "send", "--scope", "read", "--name", "app", "--days", 2)
    assert "only now" in made.err
    with Session(database) as session:
        caller = authenticate(session, made.out.strip())
        expires_at = session.scalars(select(ApiKey.expires_at)).one()
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now()")
    with Session(database) as session:
        later = authenticate(session, made.out.strip())
    assert caller is not None
    assert (caller.account, caller.scopes) == ("acme", {Scope.SEND, Scope.READ})
    assert expires_at - caller.shown_at == pytest.approx(timedelta(days=2), abs=timedelta(minutes=1))
    assert later is None


def test_a_key_without_account_is_an_operators(cli: Cli, database: Engine) -> None:
    forgotten = cli("key", "create")
    assert forgotten.status == 2
    assert "give --account, or --scope operator" in " ".join(forgotten.err.split()).replace("│ ", "")
    token = cli("key", "create", "--scope", "operator", "--json").document["token"]
    with Session(database) as session:
        caller = authenticate(session, token)
    assert caller is not None
    assert (caller.account, caller.scopes) == (None, {Scope.OPERATOR})


def test_a_key_of_an_observer_has_no_account(cli: Cli, database: Engine) -> None:
    made = cli("key", "create", "--scope", "observe")
    assert "it looks at every account" in " ".join(made.err.split())
    with Session(database) as session:
        caller = authenticate(session, made.out.strip())
    assert caller is not None
    assert (caller.account, caller.scopes, caller.is_operator) == (None, {Scope.OBSERVE}, False)
    assert cli("key", "create", "--scope", "observe", "--scope", "send").status == 1


def test_scopes_that_do_not_fit_the_owner_are_refused(cli: Cli) -> None:
    cli("account", "create", "acme")
    assert cli("key", "create", "--account", "acme", "--scope", "operator").status == 1
    assert cli("key", "create", "--scope", "send").status == 2
    assert cli("key", "create", "--account", "acme", "--scope", "all").status == 2
    assert cli("key", "create", "--account", "nobody").err.startswith("Error: there is no account 'nobody'\n")


def test_keys_are_listed_without_their_secret(cli: Cli) -> None:
    cli("account", "create", "acme")
    made = cli("key", "create", "--account", "acme", "--json").document
    cli("key", "create", "--scope", "operator")
    secret = made["token"].partition(".")[2]
    for listing in (cli("key", "list"), cli("key", "list", "--json"), cli("key", "list", "--account", "acme")):
        assert made["id"] in listing.out
        assert secret not in listing.out
    assert len(cli("key", "list", "--json").document) == 2
    assert len(cli("key", "list", "--account", "acme", "--json").document) == 1


def test_a_revoked_key_opens_nothing(cli: Cli, database: Engine) -> None:
    cli("account", "create", "acme")
    made = cli("key", "create", "--account", "acme", "--json").document
    assert cli("key", "revoke", made["id"]).status == 0
    with Session(database) as session:
        assert authenticate(session, made["token"]) is None
        first = session.scalars(select(ApiKey.revoked_at)).one()
    assert cli("key", "revoke", made["id"]).status == 0
    with Session(database) as session:
        assert session.scalars(select(ApiKey.revoked_at)).one() == first
    assert cli("key", "revoke", "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00").status == 1
