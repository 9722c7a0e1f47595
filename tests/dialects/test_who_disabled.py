"""A webhook records who disabled it, whichever way was used."""

from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.db.models import Webhook
from dispatcher.settings import Settings
from tests.factories import change, make_webhook, rows
from tests.integration.api.conftest import MakeKey
from tests.integration.cli.conftest import Cli, cli

__all__ = ["cli"]

# Dialect, method, path and body of each call that disables a webhook.
CALLS: dict[str, tuple[str | None, str, str, dict[str, Any]]] = {
    "disabling": (None, "POST", "/v1/webhooks/{webhook.id}/disable", {}),
    "changing": (None, "PATCH", "/v1/webhooks/{webhook.id}", {"enabled": False}),
    "bulksms": (
        "bulksms",
        "POST",
        "/bulksms/v1/webhooks/{webhook.number}",
        {"name": "a name", "url": "http://127.0.0.1:9/", "triggerScope": "SENT", "active": False},
    ),
    "everlytic": (
        "everlytic",
        "PUT",
        "/everlytic/api/2.0/production/sms/webhooks/{webhook.id}",
        {"webhook": {"status": "disabled"}},
    ),
    "flexengage": ("flexengage", "PATCH", "/flexengage/v1/acme/webhooks/{webhook.id}", {"enabled": False}),
}


@pytest.fixture
def make(database: Engine, settings: Settings) -> Any:
    """Makes an enabled webhook of a dialect (None: of our own API)."""

    def made(dialect: str | None) -> Webhook:
        webhook = make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["a"])
        with database.begin() as connection:
            connection.execute(
                Webhook.__table__.update()
                .where(Webhook.id == webhook.id)
                .values(dialect=dialect, dialect_fields={"onWebApp": True})
            )
        return webhook

    return made


def disabled_by(database: Engine, webhook: Webhook) -> str:
    (row,) = rows(database, "SELECT enabled, disabled_by FROM dispatcher.webhooks WHERE id = :id", id=webhook.id)
    assert not row.enabled
    assert row.disabled_by
    name: str = row.disabled_by
    return name


def disable(server: str, key: str, call: str, webhook: Webhook) -> None:
    _, method, path, body = CALLS[call]
    identifier, _, secret = key.partition(".")
    basic = call in {"bulksms", "everlytic"}
    how: dict[str, Any] = {"auth": (identifier, secret)} if basic else {"headers": {"Authorization": f"Bearer {key}"}}
    answer = requests.request(method, server + path.format(webhook=webhook), json=body, timeout=30, **how)
    assert answer.ok, answer.text


@pytest.mark.parametrize("call", ["disabling", "changing", "bulksms"])
def test_a_webhook_says_which_key_disabled_it(
    server: str, database: Engine, make_key: MakeKey, make: Any, call: str
) -> None:
    key, webhook = make_key("acme", Scope.READ, Scope.MANAGE), make(CALLS[call][0])
    disable(server, key, call, webhook)
    assert key.partition(".")[0] in disabled_by(database, webhook).replace("-", "")


def test_the_command_line_each_dialect_and_our_own_api_are_distinguished(
    server: str, database: Engine, make_key: MakeKey, make: Any, cli: Cli
) -> None:
    by_hand = make(None)
    assert cli("webhook", "disable", by_hand.id).status == 0
    names = {"command line": disabled_by(database, by_hand)}
    for call, (dialect, *_) in CALLS.items():
        webhook = make(dialect)
        disable(server, make_key("acme", Scope.READ, Scope.MANAGE), call, webhook)
        names[call] = disabled_by(database, webhook)
    assert len(set(names.values())) == len(names), names


def test_customers_are_told_of_an_operator_but_not_of_its_key(
    server: str, database: Engine, make_key: MakeKey, make: Any
) -> None:
    def get(key: str, path: str) -> str:
        return requests.get(server + path, headers={"Authorization": f"Bearer {key}"}, timeout=30).text

    operator, customer, webhook = make_key(None, Scope.OPERATOR), make_key("acme", Scope.READ), make(None)
    enqueue("a", 1, account="acme")
    change(database, "UPDATE dispatcher.deliveries SET state = 'waiting', due_at = now() + interval '1 hour'")
    (delivery,) = rows(database, "SELECT id FROM dispatcher.deliveries")
    path, headers = f"/v1/deliveries/{delivery.id}", {"Authorization": f"Bearer {operator}"}
    assert requests.post(f"{server}{path}/cancel", headers=headers, timeout=30).ok
    disable(server, operator, "disabling", webhook)
    told = [get(customer, at) for at in (path, f"/v1/webhooks/{webhook.id}", f"/v1/webhooks/{webhook.id}/health")]
    identifier = UUID(operator.partition(".")[0])
    assert [text.count("an operator") >= 1 for text in told] == [True] * 3
    assert [str(identifier) in text for text in told] == [False] * 3
    assert f"by API key {identifier}" in get(operator, path)
