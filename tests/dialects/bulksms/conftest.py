"""A caller of the BulkSMS dialect."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from tests.integration.api.conftest import MakeKey
from tests.receiver import Receiver


@dataclass(frozen=True, slots=True)
class BulkSms:
    """The API, called with one key, and a receiver for webhooks."""

    origin: str
    key: tuple[str, str]
    receiver: Receiver

    def call(self, method: str, path: str = "", **arguments: Any) -> requests.Response:
        """A call to `/v1/webhooks` or below it, with the key as Basic unless `auth` says otherwise."""
        url = f"{self.origin}/bulksms/v1/webhooks{path}"
        return requests.request(method, url, timeout=30, **{"auth": self.key, **arguments})

    def entry(self, **members: Any) -> dict[str, Any]:
        """A WebhookEntry, with what is required unless it is given."""
        return {"name": "a name", "url": self.receiver.url("/hook"), "triggerScope": "SENT"} | members

    def create(self, **members: Any) -> dict[str, Any]:
        made = self.call("POST", json=self.entry(**members))
        assert made.status_code == 200, made.text
        document: dict[str, Any] = made.json()
        return document


CallerOf: TypeAlias = Callable[..., BulkSms]


@pytest.fixture
def caller_of(server: str, make_key: MakeKey, receiver: Receiver) -> CallerOf:
    """The API, called with a new key of an account, with these scopes."""

    def make(account: str | None = "acme", *scopes: Scope, **options: Any) -> BulkSms:
        identifier, _, secret = make_key(account, *(scopes or (Scope.READ, Scope.MANAGE)), **options).partition(".")
        return BulkSms(server, (identifier, secret), receiver)

    return make


@pytest.fixture
def bulksms(database: Engine, caller_of: CallerOf) -> BulkSms:
    return caller_of()
