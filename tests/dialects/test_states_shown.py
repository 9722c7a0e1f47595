"""A dialect shows whether a webhook is enabled, whoever changed it, if its vendor has a word for it."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.dialects.callers import DIALECTS, Vendors
from tests.factories import change, deliver_all, rows
from tests.integration.api.conftest import Api
from tests.integration.cli.conftest import Cli, cli
from tests.receiver import Receiver

__all__ = ["cli"]

# For each vendor: the member that says whether a webhook is called, its value if it is, and if it is not.
SHOWN: dict[str, tuple[str, Any, Any]] = {
    "bulksms": ("active", True, False),
    "everlytic": ("status", "enabled", "disabled"),
    "flexengage": ("enabled", True, False),
    "sinch": ("target_type", "HTTP", "DISMISS"),
}


def shown(vendors: Vendors, dialect: str) -> Any:
    (document,) = vendors.listed(dialect)
    return document[SHOWN[dialect][0]] if dialect in SHOWN else document


# A receiver of flexEngage must use TLS: its rule is tested with its other callbacks.
WAYS = [
    (dialect, way)
    for dialect in SHOWN
    for way in ("api", "patch", "cli", "rule")
    if (dialect, way) != ("flexengage", "rule")
]


@pytest.mark.parametrize(("dialect", "way"), WAYS)
def test_a_webhook_that_was_disabled_elsewhere_is_not_shown_as_one_that_is_called(
    vendors: Vendors,
    api: Api,
    cli: Cli,
    manager: str,
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    dialect: str,
    way: str,
) -> None:
    webhook = vendors.make(dialect, "https://hooks.example.com/in" if dialect == "flexengage" else receiver.url("/in"))
    _, called, not_called = SHOWN[dialect]
    assert shown(vendors, dialect) == called
    path = f"/v1/webhooks/{webhook}"
    match way:
        case "api":
            assert api.call("POST", f"{path}/disable", {}, token=manager).status_code == 200
        case "patch":
            assert api.call("PATCH", path, {"enabled": False}, token=manager).status_code == 200
        case "cli":
            assert cli("webhook", "disable", webhook).status == 0
        case "rule":
            disable_by_rule(api, manager, database, settings, receiver, webhook)
    assert shown(vendors, dialect) == not_called
    assert api.call("POST", f"{path}/enable", {}, token=manager).status_code == 200
    assert shown(vendors, dialect) == called


def disable_by_rule(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver, webhook: UUID
) -> None:
    """Makes the receiver answer with the status for which the webhook's contract disables it."""
    rule = {"contract": {"rules": {"410": {"verdict": "rejected", "disable_webhook": True}}}}
    receiver.script("/in", lambda seen: Answer(200 if seen.body == b"[]" else 410))  # `[]` is a URL verification
    assert api.call("PATCH", f"/v1/webhooks/{webhook}", rule, token=manager).status_code == 200
    enqueue("message.outbound.delivered", {"id": 1}, account="acme", app="app1")
    deliver_all(settings)
    (row,) = rows(database, "SELECT disabled_by FROM dispatcher.webhooks")
    assert row.disabled_by == "response rule"


def test_zipwhip_has_no_word_for_a_webhook_that_is_disabled(
    vendors: Vendors, api: Api, manager: str, receiver: Receiver
) -> None:
    webhook = vendors.make("zipwhip", receiver.url("/in"))
    before = shown(vendors, "zipwhip")
    assert set(before) == {"webhookId", "type", "event", "url", "method"}
    api.call("POST", f"/v1/webhooks/{webhook}/disable", {}, token=manager)
    assert shown(vendors, "zipwhip") == before


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_webhook_that_keeps_failing_looks_as_before(
    vendors: Vendors, database: Engine, api: Api, manager: str, receiver: Receiver, dialect: str
) -> None:
    webhook = vendors.make(dialect, "https://hooks.example.com/in" if dialect == "flexengage" else receiver.url("/in"))
    before = vendors.listed(dialect)
    change(
        database,
        "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at)"
        " VALUES (:id, 9, now() - interval '1 hour', now())",
        id=webhook,
    )
    assert api.call("GET", f"/v1/webhooks/{webhook}", token=manager).json()["circuit"] == "open"
    assert vendors.listed(dialect) == before


def sinch_patch(vendors: Vendors, webhook: UUID, members: Any) -> Any:
    answer = vendors.call("sinch", "PATCH", f"/sinch/v1/projects/acme/webhooks/{webhook}", members)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_sinch_shows_of_a_disabled_webhook_can_be_sent_back_and_changes_nothing(
    vendors: Vendors, api: Api, manager: str
) -> None:
    webhook = vendors.make("sinch", "https://hooks.example.com/in")
    api.call("POST", f"/v1/webhooks/{webhook}/disable", {"reason": "ours"}, token=manager)
    (document,) = vendors.listed("sinch")
    assert sinch_patch(vendors, webhook, document) == document
    native = api.call("POST", f"/v1/webhooks/{webhook}/enable", {}, token=manager).json()
    assert native["event_types"][-1] == "message.outbound.bounced"
    assert vendors.listed("sinch") == [{**document, "target_type": "HTTP"}]


def test_a_client_of_sinchs_switches_a_webhook_on_again_by_its_target_type(
    vendors: Vendors, api: Api, manager: str
) -> None:
    webhook = vendors.make("sinch", "https://hooks.example.com/in")
    api.call("POST", f"/v1/webhooks/{webhook}/disable", {}, token=manager)
    assert sinch_patch(vendors, webhook, {"secret": "another"})["target_type"] == "DISMISS"
    assert sinch_patch(vendors, webhook, {"target_type": "HTTP"})["target_type"] == "HTTP"
    assert api.call("GET", f"/v1/webhooks/{webhook}", token=manager).json()["enabled"] is True


@pytest.mark.parametrize("way", ["api", "cli"])
def test_a_webhook_that_is_made_natively_is_in_no_dialect(
    vendors: Vendors, api: Api, cli: Cli, manager: str, receiver: Receiver, way: str
) -> None:
    url = receiver.url("/in")
    if way == "api":
        body = {"url": url, "event_types": ["message"], "app": "app1", "name": "native"}
        assert api.call("POST", "/v1/webhooks", body, token=manager).status_code == 201
    else:
        made = cli("webhook", "create", "--account", "acme", "--url", url, "--type", "message", "--app", "app1")
        assert made.status == 0
    (native,) = rows(vendors.database, "SELECT id, number FROM dispatcher.webhooks")
    assert [vendors.listed(dialect) for dialect in DIALECTS] == [[]] * len(DIALECTS)
    for dialect, path in {
        "bulksms": f"/bulksms/v1/webhooks/{native.number}",
        "everlytic": f"/everlytic/api/2.0/production/sms/webhooks/{native.id}",
        "flexengage": f"/flexengage/v1/acme/webhooks/{native.id}",
        "sinch": f"/sinch/v1/projects/acme/webhooks/{native.id}",
    }.items():
        assert vendors.call(dialect, "GET", path).status_code == 404
    update = vendors.call("zipwhip", "POST", "/zipwhip/webhook/update", {"webhookId": native.number})
    assert update.json()["success"] is False
