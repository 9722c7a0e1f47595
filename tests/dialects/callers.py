"""Calls all dialects with one key, by the calls that each of them has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import requests
from sqlalchemy import Engine

from tests.factories import rows

# How each dialect creates a webhook: method, path, and body (for Zipwhip a form), with `$url` for the URL.
MAKE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bulksms": ("POST", "/bulksms/v1/webhooks", {"name": "$name", "url": "$url", "triggerScope": "SENT"}),
    "everlytic": (
        "POST",
        "/everlytic/api/2.0/production/sms/webhooks",
        {"webhook": {"url": "$url", "event_types": ["delivered"], "verb": "POST"}},
    ),
    "flexengage": (
        "POST",
        "/flexengage/v1/acme/webhooks",
        {"endpoint": "$url", "events": ["message.outbound.delivered"]},
    ),
    "sinch": (
        "POST",
        "/sinch/v1/projects/acme/webhooks",
        {"app_id": "app1", "target": "$url", "triggers": ["MESSAGE_DELIVERY"], "secret": "foo_secret1234"},
    ),
    "zipwhip": ("POST", "/zipwhip/webhook/add", {"type": "message", "event": "progress", "url": "$url"}),
}
_LIST = {
    "bulksms": "/bulksms/v1/webhooks",
    "everlytic": "/everlytic/api/2.0/production/sms/webhooks",
    "flexengage": "/flexengage/v1/acme/webhooks",
    "sinch": "/sinch/v1/projects/acme/apps/app1/webhooks",
    "zipwhip": "/zipwhip/webhook/list",
}
DIALECTS = tuple(MAKE)


@dataclass(frozen=True, slots=True)
class Vendors:
    """The dialects, called with one key of the account acme."""

    origin: str
    token: str
    database: Engine

    def call(self, dialect: str, method: str, path: str, body: Any = None) -> requests.Response:
        """A call with the key, in the way that the dialect's clients send it."""
        identifier, _, secret = self.token.partition(".")
        if dialect == "zipwhip":
            login = {"username": identifier, "password": secret}
            session = requests.post(f"{self.origin}/zipwhip/user/login", login, timeout=30).json()["response"]
            return requests.post(self.origin + path, {"session": session, **(body or {})}, timeout=30)
        return requests.request(method, self.origin + path, json=body, auth=(identifier, secret), timeout=30)

    def make(self, dialect: str, url: str, name: str = "a name") -> UUID:
        """Creates a webhook. Returns its id in the native API."""
        method, path, body = MAKE[dialect]
        filled = json.loads(json.dumps(body).replace("$url", url).replace("$name", name))
        answer = self.call(dialect, method, path, filled)
        assert answer.ok, answer.text
        found: UUID = rows(self.database, "SELECT id FROM dispatcher.webhooks ORDER BY id DESC LIMIT 1")[0].id
        return found

    def listed(self, dialect: str) -> list[Mapping[str, Any]]:
        """The account's webhooks as the dialect lists them (for Sinch those of app1)."""
        answer = self.call(dialect, "GET", _LIST[dialect])
        assert answer.ok, answer.text
        document = answer.json()
        match dialect:
            case "everlytic":
                document = document["data"]["webhooks"]
            case "sinch":
                document = document["webhooks"]
            case "zipwhip":
                document = document["response"]
        found: list[Mapping[str, Any]] = document
        return found
