"""A caller of the Everlytic dialect."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from tests.integration.api.conftest import MakeKey

PATH = "/everlytic/api/2.0/production/sms/webhooks"


@dataclass(frozen=True, slots=True)
class Everlytic:
    """The API, called with one key."""

    origin: str
    key: tuple[str, str]

    @property
    def basic(self) -> str:
        return base64.b64encode(":".join(self.key).encode()).decode()

    def call(self, method: str, path: str = "", **arguments: Any) -> requests.Response:
        """A call to the webhooks or below them, with the key as Basic unless `auth` says otherwise."""
        url = f"{self.origin}{PATH}{path}"
        return requests.request(method, url, timeout=30, **{"auth": self.key, **arguments})

    def create(self, **members: Any) -> dict[str, Any]:
        given = {"event_types": ["sent"], "url": "https://example.com/hook", "verb": "POST"} | members
        made = self.call("POST", json={"webhook": given})
        assert made.status_code == 200, made.text
        return webhook_of(made)

    def update(self, webhook: dict[str, Any], **members: Any) -> requests.Response:
        return self.call("PUT", f"/{webhook['id']}", json={"webhook": members})


CallerOf: TypeAlias = Callable[..., Everlytic]


def webhook_of(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    webhook: dict[str, Any] = answer.json()["data"]["webhook"]
    return webhook


@pytest.fixture
def caller_of(server: str, make_key: MakeKey) -> CallerOf:
    """The API, called with a new key of an account, with these scopes."""

    def make(account: str | None = "acme", *scopes: Scope, **options: Any) -> Everlytic:
        identifier, _, secret = make_key(account, *(scopes or (Scope.READ, Scope.MANAGE)), **options).partition(".")
        return Everlytic(server, (identifier, secret))

    return make


@pytest.fixture
def everlytic(database: Engine, caller_of: CallerOf) -> Everlytic:
    return caller_of()
