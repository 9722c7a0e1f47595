"""A caller of the Sinch dialect: the server's origin, a project and its key."""

from dataclasses import dataclass
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from tests.integration.api.conftest import MakeKey

PROJECT = "proj1"


@dataclass(frozen=True, slots=True)
class Sinch:
    """Calls with one key, sent as HTTP Basic."""

    origin: str
    key_id: str
    secret: str
    project: str = PROJECT

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        url = f"{self.origin}/v1/projects/{self.project}{path}"
        given = {"auth": (self.key_id, self.secret), "timeout": 30, **arguments}
        return requests.request(method, url, **given)

    def create(self, **members: Any) -> requests.Response:
        least = {"app_id": "app1", "target": "https://hooks.example.com/in", "triggers": ["MESSAGE_INBOUND"]}
        document = {name: value for name, value in {**least, **members}.items() if value is not ...}
        return self.call("POST", "/webhooks", json=document)


@pytest.fixture
def sinch(server: str, database: Engine, make_key: MakeKey) -> Sinch:
    key_id, secret = make_key(PROJECT, Scope.READ, Scope.MANAGE).split(".")
    return Sinch(f"{server}/sinch", key_id, secret)
