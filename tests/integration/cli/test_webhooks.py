"""`dispatcher webhook`."""

from typing import Any

import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.cli.own_webhook import own_webhook
from dispatcher.db.models import Webhook
from dispatcher.errors import InvalidWebhook
from dispatcher.receiver_auth.credentials import Basic
from dispatcher.settings import Settings
from dispatcher.webhooks.store import Webhooks
from tests.factories import change, make_webhook
from tests.installations import installation_for
from tests.integration.cli.conftest import Cli

TOKEN = "9f8e7d6c5b4a39281706"
URL = f"https://hooks.example.com/in/{TOKEN}?key=s3cr3t-in-query"
PASSWORD = "correct horse battery"
SECRETS = (TOKEN, "s3cr3t-in-query", PASSWORD)


@pytest.fixture
def webhook(cli: Cli) -> dict[str, Any]:
    cli("account", "create", "acme")
    made: dict[str, Any] = cli(
        *("webhook", "create", "--account", "acme", "--url", URL, "--type", "message", "--type", "call.ended"),
        *("--name", "main", "--app", "shop", "--contact", "ops@example.com", "--method", "PUT"),
        *("--envelope", "object", "--user-agent", "Shop/1", "--timeout", 12.5),
        *("--basic-username", "user", "--basic-password-from", "-"),
        *("--rule", "429=temporary,honour-retry-after", "--rule", "410=rejected,disable", "--json"),
        stdin=f"{PASSWORD}\n",
    ).document
    return made


def test_a_webhook_is_kept_as_it_was_given(webhook: dict[str, Any], database: Engine, settings: Settings) -> None:
    with Session(database) as session:
        webhooks = Webhooks(session, installation_for(settings))
        (stored,) = session.query(Webhook)
        kept = webhooks.read(None, stored.id)
        assert kept.url == URL
        assert kept.secrets.authorization == Basic("user", PASSWORD)
        assert (stored.name, stored.app, stored.contact_email) == ("main", "shop", "ops@example.com")
        assert stored.event_types == ["message", "call.ended"]
        assert stored.enabled
        assert stored.contract == {
            "method": "PUT",
            "envelope": "object",
            "user_agent": "Shop/1",
            "timeout_seconds": 12.5,
            "rules": {
                "429": {"verdict": "temporary", "honour_retry_after": True},
                "410": {"verdict": "rejected", "disable_webhook": True},
            },
        }


def test_no_command_prints_a_webhooks_secrets_unless_asked(webhook: dict[str, Any], cli: Cli) -> None:
    identifier = webhook["id"]
    assert not any(secret in str(webhook) for secret in SECRETS)
    for arguments in (
        ("list",),
        ("list", "--json"),
        ("list", "--account", "acme"),
        ("show", identifier),
        ("show", identifier, "--json"),
        ("update", identifier, "--url", f"{URL}&more={TOKEN}"),
        ("disable", identifier),
        ("enable", identifier),
        ("delete", identifier, "--yes"),
    ):
        ran = cli("webhook", *arguments)
        assert ran.status == 0, ran.err
        assert not any(secret in ran.out + ran.err for secret in SECRETS), arguments


def test_reveal_shows_the_url_and_never_the_password(webhook: dict[str, Any], cli: Cli) -> None:
    for arguments in ((), ("--json",)):
        ran = cli("webhook", "show", webhook["id"], "--reveal", *arguments)
        assert URL in ran.out
        assert PASSWORD not in ran.out


def test_a_url_that_is_refused_is_not_repeated(cli: Cli) -> None:
    cli("account", "create", "acme")
    for url in (f"ftp://example.com/{TOKEN}", f"https://user:{TOKEN}@example.com/", f"https://exa mple/{TOKEN}"):
        ran = cli("webhook", "create", "--account", "acme", "--url", url, "--type", "message")
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith("Error: --url ")
        assert TOKEN not in ran.err


def test_an_update_changes_what_is_given_and_nothing_else(webhook: dict[str, Any], cli: Cli) -> None:
    changed = cli("webhook", "update", webhook["id"], "--timeout", 5, "--type", "*", "--json").document
    assert changed["contract"] == webhook["contract"] | {"timeout_seconds": 5.0}
    assert changed["event_types"] == ["*"]
    same = set(webhook) - {"contract", "event_types", "updated_at", "signing_keys"}
    assert {name: changed[name] for name in same} == {name: webhook[name] for name in same}


def test_an_update_can_take_things_away(webhook: dict[str, Any], cli: Cli, database: Engine) -> None:
    changed = cli(
        *("webhook", "update", webhook["id"], "--json"),
        *(
            part
            for name in ("app", "name", "contact", "rules", "user-agent", "authorization", "signing")
            for part in ("--clear", name)
        ),
    ).document
    assert [changed[name] for name in ("app", "name", "contact", "authorization")] == [None] * 4
    assert changed["signing_keys"] == []
    assert changed["contract"] == webhook["contract"] | {"rules": {}, "user_agent": None}
    with Session(database) as session:
        assert session.query(Webhook).one().secrets_ciphertext is None


def test_disabling_says_by_whom_and_why_and_enabling_forgets_it(webhook: dict[str, Any], cli: Cli) -> None:
    disabled = cli("webhook", "disable", webhook["id"], "--reason", "moving house", "--json").document
    assert not disabled["enabled"]
    assert (disabled["disabled_by"], disabled["disabled_reason"]) == ("command line", "moving house")
    enabled = cli("webhook", "enable", webhook["id"], "--json").document
    assert enabled["enabled"]
    assert enabled["disabled_at"] is enabled["disabled_by"] is enabled["disabled_reason"] is None


@pytest.mark.parametrize(
    "change", [("enable",), ("update", "--url", "http://127.0.0.1:9/new"), ("update", "--timeout", 5)]
)
def test_enabling_and_changing_wake_the_workers_for_what_waited(
    webhook: dict[str, Any], cli: Cli, broker: "redis.Redis", change: tuple[object, ...]
) -> None:
    broker.flushall()
    command, *options = change
    assert cli("webhook", command, webhook["id"], *options).status == 0
    assert broker.llen("deliver") == 1


def test_a_webhook_can_be_registered_disabled(cli: Cli) -> None:
    cli("account", "create", "acme")
    made = cli("webhook", "create", "--account", "acme", "--url", URL, "--type", "*", "--disabled", "--json").document
    assert (made["enabled"], made["disabled_by"]) == (False, "command line")


def test_a_deleted_webhook_is_gone_and_its_name_free(webhook: dict[str, Any], cli: Cli) -> None:
    unasked = cli("webhook", "delete", webhook["id"])
    assert unasked.status == 2
    assert "--yes" in unasked.err
    assert cli("webhook", "show", webhook["id"]).status == 0
    assert cli("webhook", "delete", webhook["id"], "--yes").status == 0
    assert cli("webhook", "list", "--json").document == []
    assert cli("webhook", "show", webhook["id"]).status == 1
    again = cli("webhook", "create", "--account", "acme", "--url", URL, "--type", "message", "--name", "main")
    assert again.status == 0


def test_a_list_has_pages_newest_first_of_one_account_or_all(cli: Cli, database: Engine, settings: Settings) -> None:
    made = [str(make_webhook(database, settings, url=URL, account=account).id) for account in ("acme", "other", "acme")]
    ran = cli("webhook", "list", "--limit", 2)
    assert ran.err == f"older ones: --before {made[1]}\n"
    assert [line.split()[:2] for line in ran.out.splitlines()[1:]] == [[made[2], "acme"], [made[1], "other"]]
    rest = cli("webhook", "list", "--before", made[1], "--limit", 2, "--json").document
    assert [(each["id"], each["account"]) for each in rest] == [(made[0], "acme")]
    own = cli("webhook", "list", "--account", "acme", "--before", made[2]).out
    assert [line.split()[0] for line in own.splitlines()[1:]] == [made[0]]


def test_what_is_left_to_discard_of_a_deleted_webhook_is_shown(webhook: dict[str, Any], cli: Cli) -> None:
    enqueue("call.ended", 1, account="acme", app=webhook["app"])
    deleted = cli("webhook", "delete", webhook["id"], "--yes")
    assert deleted.err == f"still to be discarded: 1; `dispatcher webhook health {webhook['id']}`\n"
    health = cli("webhook", "health", webhook["id"], "--json").document
    assert (health["open"], health["open_complete"], health["deleted_at"][-1]) == (1, True, "Z")
    shown = dict(line.split(None, 1) for line in cli("webhook", "health", webhook["id"]).out.splitlines())
    assert (shown["open"], "deleted" in shown) == ("1", True)


def test_another_accounts_webhook_is_not_found(webhook: dict[str, Any], cli: Cli) -> None:
    cli("account", "create", "other")
    for command in ("show", "update", "enable", "disable", "delete --yes"):
        ran = cli("webhook", *command.split(), webhook["id"], "--account", "other")
        assert (ran.status, ran.err) == (1, f"Error: there is no webhook '{webhook['id']}'\n")
    assert cli("webhook", "list", "--account", "other", "--json").document == []


def test_disabling_again_keeps_the_reason(webhook: dict[str, Any], cli: Cli) -> None:
    cli("webhook", "disable", webhook["id"], "--reason", "customer asked")
    cli("webhook", "disable", webhook["id"])
    assert cli("webhook", "show", webhook["id"], "--json").document["disabled_reason"] == "customer asked"


def test_a_password_is_never_taken_from_the_arguments(cli: Cli) -> None:
    cli("account", "create", "acme")
    base = ("webhook", "create", "--account", "acme", "--url", URL, "--type", "message")
    without_terminal = cli(*base, "--basic-username", "user")
    assert without_terminal.status == 2
    assert "--basic-password-from" in without_terminal.err
    assert cli(*base, "--basic-password", PASSWORD).status == 2
    assert cli("webhook", "list", "--json").document == []


@pytest.mark.parametrize("rule", ["429", "429=maybe", "x=rejected", "429=temporary,later", "=rejected", "429="])
def test_a_rule_that_cannot_be_read_is_a_usage_error(cli: Cli, rule: str) -> None:
    cli("account", "create", "acme")
    ran = cli("webhook", "create", "--account", "acme", "--url", URL, "--type", "message", "--rule", rule)
    assert ran.status == 2
    assert not any(secret in ran.err for secret in SECRETS)


def test_a_name_in_use_is_refused(webhook: dict[str, Any], cli: Cli) -> None:
    ran = cli("webhook", "create", "--account", "acme", "--url", URL, "--type", "message", "--name", "main")
    assert (ran.status, ran.err) == (1, "Error: the account already has a webhook with this name\n")


def test_batches_pace_and_circuit_breaker_are_chosen_and_taken_back(webhook: dict[str, Any], cli: Cli) -> None:
    update = ("webhook", "update", webhook["id"], "--json")
    changed = cli(
        *update,
        *("--envelope", "array", "--batch-size", 50, "--retry-alone", "--rate-limit", 12.5, "--no-circuit-breaker"),
    ).document["contract"]
    assert [changed[name] for name in ("batch_size", "retry_alone", "rate_limit", "circuit_breaker")] == [
        50,
        True,
        12.5,
        False,
    ]
    changed = cli(
        *update, "--batch-size", 1, "--retry-together", "--clear", "rate-limit", "--circuit-breaker"
    ).document["contract"]
    assert [changed[name] for name in ("batch_size", "retry_alone", "rate_limit", "circuit_breaker")] == [
        1,
        False,
        None,
        True,
    ]
    refused = cli(*update, "--envelope", "object", "--batch-size", 2)
    assert refused.status != 0
    assert "a --batch-size above 1 needs the envelope array" in refused.err


def test_an_open_circuit_is_seen_and_closed_by_enabling(webhook: dict[str, Any], cli: Cli, database: Engine) -> None:
    identifier = webhook["id"]
    change(
        database,
        "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trial_at)"
        " VALUES (:id, 7, now() - interval '5 minutes', now(), now() + interval '90 seconds')",
        id=identifier,
    )
    circuit = cli("webhook", "show", identifier, "--json").document["circuit"]
    assert (circuit["state"], circuit["failures_in_a_row"]) == ("open", 7)
    assert circuit["next_trial_at"] > circuit["opened_at"] > circuit["failing_since"]
    assert "open" in cli("webhook", "list").out
    shown = cli("webhook", "update", identifier, "--contact", "new@example.com").out
    assert "circuit state" in shown
    assert "open" in shown
    cli("webhook", "enable", identifier)
    assert cli("webhook", "show", identifier, "--json").document["circuit"]["state"] == "closed"


CREATE = ("webhook", "create", "--account", "acme", "--type", "message")


def strict(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """The commands from now on have these settings; without any, the egress policy allows nothing of its own."""
    for name, value in {"allowed_networks": "", "allowed_ports": "", **settings}.items():
        monkeypatch.setenv(f"DISPATCHER_{name.upper()}", value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://10.0.0.1/hook", "a private address"),
        ("http://localhost/hook", "a loopback address"),
        ("http://[::ffff:127.0.0.1]/hook", "an IPv4-mapped address"),
        ("http://169.254.169.254/latest/meta-data", "a cloud's metadata address"),
        ("https://example.com:22/", "port 22: below 1024 only 80 and 443 may be used"),
        ("https://example.com:6379/", "port 6379, which is for Redis"),
    ],
)
def test_a_url_that_the_address_guard_refuses_is_not_registered(
    webhook: dict[str, Any], cli: Cli, monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    strict(monkeypatch)
    for arguments in ((*CREATE, "--url", url), ("webhook", "update", webhook["id"], "--url", url)):
        ran = cli(*arguments)
        assert (ran.status, ran.out) == (1, "")
        said, advice = ran.err.splitlines()
        assert said == f"Error: --url may not be called: {reason}"
        assert advice.startswith("DISPATCHER_ALLOWED_NETWORKS, ")
    (only,) = cli("webhook", "list", "--json").document
    assert only["updated_at"] == webhook["updated_at"]


def test_a_url_on_the_allow_list_is_registered(
    webhook: dict[str, Any], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = {"allowed_networks": "10.1.0.0/16, fd12::/32", "allowed_hosts": "localhost", "allowed_ports": "22"}
    strict(monkeypatch, **allowed)
    for url in ("http://10.1.2.3:22/", "http://[fd12::1]/", "http://localhost/"):
        assert cli(*CREATE, "--url", url).status == 0
    assert cli(*CREATE, "--url", "http://10.2.0.0/").status == 1


def test_a_webhook_whose_url_would_be_refused_now_can_be_changed_otherwise(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("account", "create", "acme")
    made = cli(*CREATE, "--url", "http://127.0.0.1:9/", "--json").document
    strict(monkeypatch, https_only="true")
    changed = cli("webhook", "update", made["id"], "--timeout", 5, "--name", "old", "--json").document
    assert (changed["name"], changed["contract"]["timeout_seconds"]) == ("old", 5)


def test_https_only_of_the_installation_refuses_plain_http(
    webhook: dict[str, Any], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict(monkeypatch, https_only="true")
    ran = cli(*CREATE, "--url", "http://example.com/")
    assert ran.status == 1
    assert ran.err.startswith("Error: --url may not be called: plain http, where only https may be used\nDISPATCHER_")
    assert cli(*CREATE, "--url", "https://example.com/").status == 0


def test_https_only_of_a_webhook_refuses_plain_http_whichever_of_both_comes_first(
    webhook: dict[str, Any], cli: Cli
) -> None:
    refused = "Error: --url must begin with https://, because the contract says --https-only\n"
    plain, update = "http://example.com/", ("webhook", "update", webhook["id"])
    assert cli(*CREATE, "--url", plain, "--https-only").err == refused
    assert cli(*update, "--https-only", "--json").document["contract"]["https_only"] is True
    assert cli(*update, "--url", plain).err == refused
    assert cli(*update, "--url", plain, "--any-scheme", "--json").document["contract"]["https_only"] is False
    assert cli(*update, "--https-only").err == refused
    assert cli(*update, "--url", "https://example.com/", "--https-only").status == 0


def test_no_client_certificate_can_be_given_yet(webhook: dict[str, Any], database: Engine, settings: Settings) -> None:
    with pytest.raises(InvalidWebhook, match="client_certificate"):
        make_webhook(database, settings, url=URL, contract={"client_certificate": "-----BEGIN"})
    assert webhook["contract"]["client_certificate"] is None


def test_a_misspelt_type_of_a_webhook_is_pointed_out_and_taken(
    cli: Cli, database: Engine, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    make_webhook(database, settings, url=URL, event_types=["optout.changed"])
    hint = "Hint: {} looks like a misspelling of {}\n".format
    made = cli(*CREATE, "--type", "mesage.inbound", "--url", URL, "--signing", "none", "--json")
    assert made.document["event_types"] == ["message", "mesage.inbound"]
    assert made.err == hint("mesage.inbound", "message.inbound")
    update = ("webhook", "update", made.document["id"], "--json")
    assert cli(*update, "--type", "optout.change").err == hint("optout.change", "optout.changed")
    assert cli(*update, "--timeout", 5).err == ""  # of what is not changed nothing is said
    assert cli(*update, "--type", "optout.changed").err == ""
    capsys.readouterr()
    with own_webhook(installation_for(settings), "acme", 9, ["mesage"], None, keep=False):
        assert capsys.readouterr().err.endswith(hint("mesage", "message"))


def test_what_is_made_is_shown_in_a_few_lines_with_its_key_and_how_to_see_the_rest(cli: Cli) -> None:
    cli("account", "create", "acme")
    ran = cli(*CREATE, "--url", URL, "--name", "main")
    assert [line.split()[0] for line in ran.out.splitlines()] == [
        *("id", "account", "name", "URL", "types", "enabled", "signing"),
    ]
    identifier = ran.out.split()[1]
    key = cli("webhook", "show", identifier, "--reveal", "--json").document["signing_keys"][0]["secret"]
    assert key in ran.out
    assert f"To see all of it: `dispatcher webhook show {identifier}`\n" in ran.err
    for command in ("disable", "enable"):
        ran = cli("webhook", command, identifier)
        assert len(ran.out.splitlines()) == 6
        assert "whsec_" not in ran.out
