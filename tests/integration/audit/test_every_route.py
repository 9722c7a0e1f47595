"""Each route that changes something leaves one entry in the audit log; a new one cannot be forgotten."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.audit import Action
from dispatcher.asgi import DIALECTS, create_app
from dispatcher.db.models import ApiKey, Webhook
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings
from tests.factories import (
    TESTER,
    change,
    deliveries,
    make_portal_link,
    make_quarantined_notice,
    make_recipient,
    make_webhook,
)
from tests.integration.api.conftest import MakeKey
from tests.integration.audit.conftest import entries, forget
from tests.receiver import Receiver

HOOK = "https://example.com/hook"
EVERLYTIC = "/everlytic/api/2.0/production/sms/webhooks"
FLEXENGAGE = "/flexengage/v1/{brandId}/webhooks"
SINCH = "/sinch/v1/projects/{project_id}/webhooks"
ZIPWHIP = {"type": "message", "event": "receive", "url": HOOK}


class Change(NamedTuple):
    """What a route is called with, and what it is noted as."""

    action: Action
    body: Any = None
    query: dict[str, str] | None = None
    of_operators: bool = False


_ZIPWHIP_CHANGES = {
    "/zipwhip/webhook/add": Change(Action.WEBHOOK_CREATED, query=ZIPWHIP),
    "/zipwhip/webhook/update": Change(Action.WEBHOOK_CHANGED, query={"webhookId": "{id}", "method": "PUT"}),
    "/zipwhip/webhook/delete": Change(Action.WEBHOOK_DELETED, query={"webhookId": "{id}"}),
}
CHANGES = {
    "POST /v1/accounts": Change(Action.ACCOUNT_CREATED, {"name": "globex"}, of_operators=True),
    "DELETE /v1/accounts/{name}": Change(Action.ACCOUNT_DELETED, of_operators=True),
    "PUT /v1/accounts/{name}/limits": Change(Action.ACCOUNT_LIMITED, {"webhooks": 5}, of_operators=True),
    "POST /v1/accounts/{name}/suspend": Change(Action.ACCOUNT_SUSPENDED, of_operators=True),
    "POST /v1/accounts/{name}/resume": Change(Action.ACCOUNT_RESUMED, of_operators=True),
    "POST /v1/accounts/{name}/portal-links": Change(Action.LINK_MADE, {"scopes": ["read"]}),
    "DELETE /v1/accounts/{name}/portal-sessions": Change(Action.PORTAL_SESSIONS_ENDED),
    "POST /v1/keys": Change(Action.KEY_CREATED, {"account": "acme", "scopes": ["read"]}, of_operators=True),
    "DELETE /v1/keys/{key_id}": Change(Action.KEY_REVOKED, of_operators=True),
    "POST /v1/webhooks": Change(Action.WEBHOOK_CREATED, {"url": "{hook}", "event_types": ["*"]}),
    "PATCH /v1/webhooks/{webhook_id}": Change(Action.WEBHOOK_CHANGED, {"name": "new", "enabled": False}),
    "DELETE /v1/webhooks/{webhook_id}": Change(Action.WEBHOOK_DELETED),
    "POST /v1/webhooks/{webhook_id}/enable": Change(Action.WEBHOOK_ENABLED),
    "POST /v1/webhooks/{webhook_id}/disable": Change(Action.WEBHOOK_DISABLED),
    "POST /v1/webhooks/{webhook_id}/release": Change(Action.WEBHOOK_RELEASED),
    "POST /v1/notices/{notice_id}/release": Change(Action.NOTICE_RELEASED),
    "POST /v1/contacts/{contact_id}/confirm": Change(Action.CONTACT_CONFIRMED, of_operators=True),
    "POST /v1/contacts/{contact_id}/unsubscribe": Change(Action.CONTACT_UNSUBSCRIBED, of_operators=True),
    "POST /v1/webhooks/{webhook_id}/rotate-secret": Change(Action.WEBHOOK_KEY_ROTATED),
    "GET /v1/webhooks/{webhook_id}/secrets": Change(Action.WEBHOOK_SECRETS_SHOWN),
    "POST /v1/webhooks/{webhook_id}/test": Change(Action.WEBHOOK_TESTED),
    "POST /v1/events/{event_id}/deliveries": Change(Action.DELIVERY_REDELIVERED, {"webhook": "{webhook_id}"}),
    "POST /v1/webhooks/{webhook_id}/replay": Change(Action.REDELIVERY_ORDERED, {"since": "2026-01-01T00:00:00Z"}),
    "POST /v1/deliveries/{delivery_id}/redeliver": Change(Action.DELIVERY_REDELIVERED),
    "POST /v1/deliveries/{delivery_id}/cancel": Change(Action.DELIVERY_CANCELLED),
    "POST /v1/redeliveries": Change(Action.REDELIVERY_ORDERED, {"filter": {}}),
    "POST /v1/redeliveries/{redelivery_id}/cancel": Change(Action.REDELIVERY_CANCELLED),
    "POST /bulksms/v1/webhooks": Change(
        Action.WEBHOOK_CREATED, {"name": "new", "url": "{hook}", "triggerScope": "SENT"}
    ),
    "POST /bulksms/v1/webhooks/{id}": Change(
        Action.WEBHOOK_CHANGED, {"name": "newer", "url": "{hook}", "triggerScope": "SENT"}
    ),
    "DELETE /bulksms/v1/webhooks/{id}": Change(Action.WEBHOOK_DELETED),
    f"POST {EVERLYTIC}": Change(
        Action.WEBHOOK_CREATED, {"webhook": {"event_types": ["sent"], "url": HOOK, "verb": "POST"}}
    ),
    f"PUT {EVERLYTIC}/{{webhook_id}}": Change(Action.WEBHOOK_DISABLED, {"webhook": {"status": "disabled"}}),
    f"DELETE {EVERLYTIC}/{{webhook_id}}": Change(Action.WEBHOOK_DELETED),
    f"POST {FLEXENGAGE}": Change(Action.WEBHOOK_CREATED, {"endpoint": HOOK, "events": ["A"]}),
    f"PATCH {FLEXENGAGE}/{{id}}": Change(Action.WEBHOOK_DISABLED, {"enabled": False}),
    f"DELETE {FLEXENGAGE}/{{id}}": Change(Action.WEBHOOK_DELETED),
    f"POST {FLEXENGAGE}/{{id}}/events/{{eventId}}/retry": Change(Action.DELIVERY_REDELIVERED),
    f"POST {SINCH}": Change(
        Action.WEBHOOK_CREATED, {"app_id": "app1", "target": HOOK, "triggers": ["MESSAGE_INBOUND"]}
    ),
    f"PATCH {SINCH}/{{webhook_id}}": Change(Action.WEBHOOK_CHANGED, {"target": f"{HOOK}/new"}),
    f"DELETE {SINCH}/{{webhook_id}}": Change(Action.WEBHOOK_DELETED),
    **{f"{method} {path}": given for method in ("GET", "POST") for path, given in _ZIPWHIP_CHANGES.items()},
}

# Other methods than GET (and GETs, where all is called by both), that leave no entry; and why.
NOT_NOTED = {
    "POST /v1/events": "takes an event in",
    "POST /v1/events/batch": "takes events in",
    "POST /oauth2/token": "stores nothing",
    "POST /sinch/oauth2/token": "stores nothing",
    "GET /zipwhip/user/login": "stores nothing",
    "POST /zipwhip/user/login": "stores nothing",
    "GET /zipwhip/webhook/list": "only looks",
    "POST /zipwhip/webhook/list": "only looks",
}


def routes() -> Iterator[str]:
    """All that is no plain GET: Zipwhip's can change something too."""
    for prefix, make in {"": create_app, **DIALECTS}.items():
        for path, operations in make().openapi()["paths"].items():
            for method in operations:
                if method != "get" or prefix == "/zipwhip":
                    yield f"{method.upper()} {prefix}{path}"


def test_every_route_that_is_no_plain_get_is_looked_at_here() -> None:
    shows_secrets = {"GET /v1/webhooks/{webhook_id}/secrets"}
    assert CHANGES.keys() - shows_secrets | NOT_NOTED.keys() == set(routes())


@dataclass
class World:
    """What there is to change, and who calls."""

    origin: str
    database: Engine
    settings: Settings
    make_key: MakeKey
    receiver: Receiver
    known: dict[str, str] = field(default_factory=dict)

    def fill(self, part: Any) -> Any:
        match part:
            case str():
                for name, value in self.known.items():
                    part = part.replace(f"{{{name}}}", value)
                return part
            case dict():
                return {name: self.fill(value) for name, value in part.items()}
            case list():
                return [self.fill(value) for value in part]
            case _:
                return part

    def call(self, route: str, given: Change, key: str, **arguments: Any) -> requests.Response:
        method, path = route.split()
        identifier, _, secret = key.partition(".")
        query = self.fill(given.query) or {}
        if path.startswith("/zipwhip"):
            credentials = {"username": identifier, "password": secret}
            login = requests.get(f"{self.origin}/zipwhip/user/login", credentials, timeout=30)
            query |= {"session": login.json()["response"]}
        url, body = self.origin + self.fill(path), self.fill(given.body)
        return requests.request(
            method, url, params=query, json=body, auth=(identifier, secret), timeout=60, **arguments
        )

    def prepare(self, route: str) -> None:
        """Makes what the route is about: a webhook as its dialect makes it, an event, a delivery, an order, a key."""
        manager = self.make_key("acme", Scope.READ, Scope.MANAGE)
        self.known = {"hook": self.receiver.url("/hook"), "brandId": "acme", "project_id": "acme"}
        prefix = next((prefix for prefix in DIALECTS if f" {prefix}/" in route), None)
        if prefix is None:
            webhook = make_webhook(self.database, self.settings, url=self.known["hook"])
            self.known["webhook_id"] = str(webhook.id)
        elif CHANGES[route].action is not Action.WEBHOOK_CREATED:
            creating = next(r for r in CHANGES if f" {prefix}/" in r and CHANGES[r].action is Action.WEBHOOK_CREATED)
            assert self.call(creating, CHANGES[creating], manager).ok
            with Session(self.database) as session:
                (row,) = session.execute(select(Webhook.id, Webhook.number)).all()
            numbered = prefix in {"/bulksms", "/zipwhip"}
            self.known |= {"webhook_id": str(row.id), "id": str(row.number if numbered else row.id)}
        accepted = enqueue("A", 1, account="acme")
        self.known["eventId"] = self.known["event_id"] = str(accepted.event_id)
        if accepted.deliveries:
            self.known["delivery_id"] = str(deliveries(self.database)[0].id)
        if "cancel" not in route or "redeliveries" in route:
            change(self.database, "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected'")
        with Session(self.database) as session, session.begin():
            ordered = order(session, find_account(session, "acme"), Selection(), by=TESTER)
            self.known["redelivery_id"] = str(ordered.id)
        self.known |= {"key_id": manager.partition(".")[0], "name": "acme"}
        if CHANGES[route].action is Action.WEBHOOK_RELEASED:
            change(self.database, "UPDATE dispatcher.webhooks SET quarantined_at = now()")
        if CHANGES[route].action is Action.NOTICE_RELEASED:
            self.known["notice_id"] = str(make_quarantined_notice(self.database))
        if CHANGES[route].action in {Action.CONTACT_CONFIRMED, Action.CONTACT_UNSUBSCRIBED}:
            self.known["contact_id"] = str(make_recipient(self.database))
        if CHANGES[route].action is Action.PORTAL_SESSIONS_ENDED:
            make_portal_link(self.database, self.settings)
        if CHANGES[route].action is Action.ACCOUNT_RESUMED:
            change(self.database, "UPDATE dispatcher.accounts SET suspended_at = now()")


@pytest.fixture(autouse=True)
def _console_where_it_is_needed(request: pytest.FixtureRequest) -> None:
    if any(word in request.node.name for word in ("portal", "console")):
        request.getfixturevalue("console_on")


@pytest.fixture
def world(server: str, database: Engine, settings: Settings, make_key: MakeKey, receiver: Receiver) -> World:
    return World(server, database, settings, make_key, receiver)


@pytest.mark.parametrize("route", CHANGES)
def test_it_leaves_one_entry_which_says_by_whom(world: World, route: str) -> None:
    given = CHANGES[route]
    world.prepare(route)
    key = (
        world.make_key(None, Scope.OPERATOR) if given.of_operators else world.make_key("acme", Scope.READ, Scope.MANAGE)
    )
    forget(world.database)
    answer = world.call(route, given, key)
    assert answer.ok, answer.text
    (entry,) = entries(world.database)
    key_id = UUID(key.partition(".")[0])
    dialect = next((prefix.strip("/") for prefix in DIALECTS if f" {prefix}/" in route), None)
    assert (entry.action, entry.target_kind) == (given.action, given.action.partition(".")[0])
    assert (entry.actor_kind, entry.dialect) == ("dialect" if dialect else "api_key", dialect)
    assert entry.actor == f"API key {key_id}" + (f" through {dialect}" if dialect else "")
    assert (entry.key_id, entry.user_label) == (key_id, None)
    assert (str(entry.request_id), entry.address) == (answer.headers["X-Request-Id"], "127.0.0.1")
    with Session(world.database) as session:
        name = "globex" if given.action is Action.ACCOUNT_CREATED else "acme"
        assert entry.account_id == find_account(session, name, deleted=True).id
        assert session.get(ApiKey, entry.key_id) is not None


@pytest.mark.parametrize("route", CHANGES)
def test_refused_it_leaves_none(world: World, route: str) -> None:
    world.prepare(route)
    keys = world.make_key("acme", Scope.READ), world.make_key(None, Scope.OBSERVE)
    forget(world.database)
    for key in keys:
        assert not _was_done(world.call(route, CHANGES[route], key))
    assert entries(world.database) == []


def _was_done(answer: requests.Response) -> bool:
    return answer.ok and answer.json().get("success", True)  # Zipwhip refuses with 200
