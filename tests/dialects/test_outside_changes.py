"""A dialect's webhook that is changed from outside, by the native API or a command, stays as its vendor's clients and
receivers expect it."""

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.dialects.callers import DIALECTS, Vendors
from tests.factories import deliver_all, rows
from tests.integration.api.conftest import Api, errors
from tests.integration.cli.conftest import Cli, cli
from tests.receiver import Receiver

__all__ = ["cli"]

Patch: TypeAlias = Callable[..., Any]
URL = "https://hooks.example.com/in"
LONG = f"https://hooks.example.com/{'a' * 717}"  # one character longer than Sinch accepts

# In the native API and on the command line: what only the dialect may change, by its name in the refusal.
LEFT_TO_DIALECTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "event_types": ({"event_types": ["*"]}, ("--type", "*")),
    "app": ({"app": "another"}, ("--app", "another")),
    "authorization": ({"authorization": None}, ("--clear", "authorization")),
    "headers": ({"headers": {}}, ("--clear", "headers")),
    "contract.envelope": ({"contract": {"envelope": "other"}}, ("--envelope", "other")),
    "contract.members": ({"contract": {"members": [["d", "data"]]}}, ("--member", "d=data")),
    "contract.user_agent": ({"contract": {"user_agent": "Ours/1"}}, ("--user-agent", "Ours/1")),
    "contract.method": ({"contract": {"method": "PUT"}}, ("--method", "PUT")),
    "contract.body_signature": (
        {"contract": {"body_signature": {"header": "X-Signature"}}, "body_secret": "s"},
        ("--body-signature", "X-Signature,sha256,hex", "--body-secret-from", "{secret}"),
    ),
}


def version(database: Engine, webhook: object) -> int:
    (row,) = rows(database, "SELECT version FROM dispatcher.webhooks WHERE id = :id", id=webhook)
    found: int = row.version
    return found


def url_for(dialect: str, receiver: Receiver, path: str = "/in") -> str:
    return f"https://hooks.example.com{path}" if dialect == "flexengage" else receiver.url(path)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("member", LEFT_TO_DIALECTS)
def test_what_the_vendors_api_or_receivers_know_is_changed_through_the_dialect_only(
    vendors: Vendors, api: Api, cli: Cli, manager: str, receiver: Receiver, tmp_path: Any, dialect: str, member: str
) -> None:
    webhook = vendors.make(dialect, url_for(dialect, receiver))
    before = vendors.listed(dialect)
    other = "object" if dialect == "bulksms" else "array"
    secret = tmp_path / "secret"
    secret.write_text("s")
    body, options = LEFT_TO_DIALECTS[member]
    if member == "contract.envelope":
        body, options = {"contract": {"envelope": other}}, ("--envelope", other)
        if dialect == "flexengage":
            body["contract"]["members"] = None
    refused = api.call("PATCH", f"/v1/webhooks/{webhook}", body, token=manager)
    assert refused.status_code == 409, refused.text
    for part in (dialect, member, "delete the webhook and create another"):
        assert part in refused.json()["detail"]
    ran = cli("webhook", "update", webhook, *[word.format(secret=secret) for word in options])
    assert ran.status == 1
    assert all(part in " ".join(ran.err.split()) for part in (dialect, member))
    assert version(vendors.database, webhook) == 1
    assert vendors.listed(dialect) == before


def test_the_vendors_signature_is_changed_through_the_dialect_only(
    vendors: Vendors, cli: Cli, api: Api, manager: str
) -> None:
    webhook = vendors.make("sinch", URL)
    for body in ({"contract": {"nonce_signature": None}}, {"nonce_secret": "another"}, {"contract": None}):
        refused = api.call("PATCH", f"/v1/webhooks/{webhook}", body, token=manager)
        assert refused.status_code == 409
        assert "nonce_s" in refused.json()["detail"]
    assert cli("webhook", "update", webhook, "--clear", "nonce-signature").status == 1
    assert version(vendors.database, webhook) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_when_and_how_often_it_is_called_can_be_changed_and_its_document_stays(
    vendors: Vendors, api: Api, cli: Cli, manager: str, receiver: Receiver, dialect: str
) -> None:
    webhook = vendors.make(dialect, url_for(dialect, receiver))
    (before,) = vendors.listed(dialect)
    contract = {
        "rate_limit": 5,
        "timeout_seconds": 10,
        "schedule": "hour",
        "circuit_breaker": False,
        "rules": {"410": {"verdict": "rejected", "disable_webhook": True}},
    }
    changed = api.call("PATCH", f"/v1/webhooks/{webhook}", {"contract": contract}, token=manager)
    assert changed.status_code == 200, changed.text
    assert changed.json()["contract"] == {**changed.json()["contract"], "rate_limit": 5, "circuit_breaker": False}
    assert cli("webhook", "update", webhook, "--rate-limit", 7, "--contact", "ops@example.com").status == 0
    (after,) = vendors.listed(dialect)
    moved = {"updated", "updated_timestamp", "contactEmailAddress"}
    assert {name: value for name, value in after.items() if name not in moved} == {
        name: value for name, value in before.items() if name not in moved
    }
    if dialect == "bulksms":
        assert after["contactEmailAddress"] == "ops@example.com"


def test_the_whole_contract_as_it_was_read_can_be_sent_back(vendors: Vendors, api: Api, manager: str) -> None:
    webhook = vendors.make("zipwhip", URL)
    read = api.call("GET", f"/v1/webhooks/{webhook}", token=manager).json()["contract"]
    sent = api.call("PATCH", f"/v1/webhooks/{webhook}", {"contract": {**read, "timeout_seconds": 5}}, token=manager)
    assert sent.status_code == 200, sent.text


# The vendors' own rules


def patched_and_updated(api: Api, cli: Cli, manager: str, webhook: object, url: str) -> list[str]:
    """The refusals of a URL by the API and by the command line."""
    patched = api.call("PATCH", f"/v1/webhooks/{webhook}", {"url": url}, token=manager)
    assert patched.status_code in {409, 422}, patched.text
    updated = cli("webhook", "update", webhook, "--url", url)
    assert updated.status == 1
    return [patched.json()["detail"], " ".join(updated.err.split())]


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        (LONG, "at most 742 characters"),
        ("https://conversation-api.eu.sinch.com/in", "must not be an address of the Conversation API itself"),
    ],
)
def test_sinchs_rules_for_a_target_hold_for_a_native_url(
    vendors: Vendors, api: Api, cli: Cli, manager: str, url: str, rule: str
) -> None:
    webhook = vendors.make("sinch", URL)
    for refusal in patched_and_updated(api, cli, manager, webhook, url):
        assert all(part in refusal for part in ("url", rule, "dialect sinch"))
    assert vendors.listed("sinch")[0]["target"] == URL
    exact = api.call("PATCH", f"/v1/webhooks/{webhook}", {"url": LONG[:-1]}, token=manager)
    assert (exact.status_code, vendors.listed("sinch")[0]["target"]) == (200, LONG[:-1])


def test_flexengages_webhook_cannot_become_plain_http(vendors: Vendors, api: Api, cli: Cli, manager: str) -> None:
    webhook = vendors.make("flexengage", URL)
    assert cli("webhook", "update", webhook, "--any-scheme").status == 0
    for refusal in patched_and_updated(api, cli, manager, webhook, "http://hooks.example.com/in"):
        assert all(part in refusal for part in ("url", "must begin with https://", "dialect flexengage"))
    assert vendors.listed("flexengage")[0]["endpoint"] == URL


def test_no_native_url_makes_two_webhooks_of_flexengage_alike(
    vendors: Vendors, api: Api, cli: Cli, manager: str
) -> None:
    vendors.make("flexengage", URL)
    webhook = vendors.make("flexengage", f"{URL}/2")
    for refusal in patched_and_updated(api, cli, manager, webhook, "https://HOOKS.example.com/in"):
        assert all(part in refusal for part in ("flexengage", "change or delete the other one first"))
    own = api.call("PATCH", f"/v1/webhooks/{webhook}", {"url": f"{URL}/2#again"}, token=manager)
    assert own.status_code == 200, own.text
    assert [document["endpoint"] for document in vendors.listed("flexengage")] == [URL, f"{URL}/2#again"]


def test_a_webhook_of_bulksms_keeps_a_name(
    vendors: Vendors, api: Api, cli: Cli, manager: str, receiver: Receiver
) -> None:
    webhook = vendors.make("bulksms", receiver.url("/in"))
    refused = api.call("PATCH", f"/v1/webhooks/{webhook}", {"name": None}, token=manager)
    assert (refused.status_code, list(errors(refused))) == (422, ["name"])
    assert "bulksms" in refused.json()["detail"]
    assert cli("webhook", "update", webhook, "--clear", "name").status == 1
    assert api.call("PATCH", f"/v1/webhooks/{webhook}", {"name": "another"}, token=manager).status_code == 200
    assert vendors.listed("bulksms")[0]["name"] == "another"


@pytest.mark.parametrize("dialect", [dialect for dialect in DIALECTS if dialect != "bulksms"])
def test_a_name_that_only_the_native_api_knows_can_be_taken_away(
    vendors: Vendors, api: Api, manager: str, dialect: str
) -> None:
    webhook = vendors.make(dialect, URL)
    for name in ("a name", None):
        changed = api.call("PATCH", f"/v1/webhooks/{webhook}", {"name": name}, token=manager)
        assert (changed.status_code, changed.json()["name"]) == (200, name)


@pytest.mark.parametrize(
    ("contract", "options", "field"),
    [
        ({"batch_size": 11, "retry_alone": True}, ("--batch-size", 11, "--retry-alone"), "contract.batch_size"),
        ({"batch_size": 10}, ("--batch-size", 10), "contract.retry_alone"),
    ],
)
def test_a_webhook_of_bulksms_gets_ten_messages_at_most_and_each_alone_after_a_failure(
    vendors: Vendors,
    api: Api,
    cli: Cli,
    manager: str,
    receiver: Receiver,
    contract: dict[str, Any],
    options: tuple[object, ...],
    field: str,
) -> None:
    webhook = vendors.make("bulksms", receiver.url("/in"))
    refused = api.call("PATCH", f"/v1/webhooks/{webhook}", {"contract": contract}, token=manager)
    assert (refused.status_code, list(errors(refused))) == (422, [field])
    ran = cli("webhook", "update", webhook, *options)
    member = field.removeprefix("contract.").replace("_", "-")
    assert (ran.status, f"Error: --{member} must be " in ran.err) == (1, True), ran.err
    fits = api.call(
        "PATCH", f"/v1/webhooks/{webhook}", {"contract": {"batch_size": 10, "retry_alone": True}}, token=manager
    )
    assert fits.status_code == 200, fits.text


# Signing keys, switching, deleting


@pytest.mark.parametrize("way", ["api", "cli"])
@pytest.mark.parametrize("dialect", ["bulksms", "everlytic", "sinch", "zipwhip"])
def test_a_native_signing_key_adds_our_signature_and_leaves_the_rest_of_the_callback(
    vendors: Vendors, api: Api, cli: Cli, manager: str, settings: Settings, receiver: Receiver, dialect: str, way: str
) -> None:
    webhook = vendors.make(dialect, receiver.url("/in"))
    message = b'{"id":1}'
    enqueue("message.outbound.delivered", message, account="acme", app="app1")
    deliver_all(settings)
    if way == "api":
        rotated = api.call("POST", f"/v1/webhooks/{webhook}/rotate-secret", {}, token=manager)
        assert rotated.status_code == 200, rotated.text
    else:
        assert cli("webhook", "rotate-secret", webhook).status == 0
    enqueue("message.outbound.delivered", message, account="acme", app="app1")
    deliver_all(settings)
    before, after = [request for request in receiver.at("/in") if b"1" in request.body]
    ours = {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert {name for name, _ in after.headers} - {name for name, _ in before.headers} == ours
    assert (after.body, after.header("User-Agent")) == (before.body, before.header("User-Agent"))
    signed = "x-sinch-webhook-signature"
    assert (after.header(signed) is not None) == (before.header(signed) is not None) == (dialect == "sinch")
    ended = api.call("PATCH", f"/v1/webhooks/{webhook}", {"signing": None}, token=manager)
    assert ended.json()["signing_keys"] == []


@pytest.mark.parametrize("way", ["api", "cli"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_deleted_natively_is_gone_in_its_dialect(
    vendors: Vendors, api: Api, cli: Cli, manager: str, receiver: Receiver, dialect: str, way: str
) -> None:
    webhook = vendors.make(dialect, url_for(dialect, receiver))
    if way == "api":
        assert api.call("DELETE", f"/v1/webhooks/{webhook}", token=manager).status_code == 204
    else:
        assert cli("webhook", "delete", webhook, "--yes").status == 0
    assert vendors.listed(dialect) == []
    vendors.make(dialect, url_for(dialect, receiver))  # its name, and its place, are free again
