"""A caller of the Zipwhip dialect."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from tests.integration.api.conftest import MakeKey


@dataclass(frozen=True, slots=True)
class Zipwhip:
    """The API, called with one key's session."""

    origin: str
    username: str
    password: str
    session: str = ""

    def ask(self, path: str, **parameters: Any) -> requests.Response:
        """A call by POST and form."""
        return requests.post(f"{self.origin}/zipwhip/{path}", data=parameters, timeout=30)

    def call(self, path: str, **parameters: Any) -> Any:
        """The `response` of a call with the session, which must be a success."""
        answer = self.ask(path, session=self.session, **parameters)
        document = answer.json()
        assert (answer.status_code, document["success"]) == (200, True), answer.text
        return document["response"]

    def refused(self, path: str, **parameters: Any) -> str:
        """Why a call is refused."""
        return reason(self.ask(path, **{"session": self.session, **parameters}))

    def add(self, url: str = "https://hooks.example.com/", **parameters: Any) -> dict[str, Any]:
        given = {"type": "message", "event": "receive", "url": url, **parameters}
        (made,) = self.call("webhook/add", **given)
        assert isinstance(made, dict)
        return made


def reason(answer: requests.Response, status: int = 200) -> str:
    """Why a call is refused: the vendor's form of an error."""
    document = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.status_code, list(document), document["success"]) == (status, ["success", "response"], False)
    assert isinstance(document["response"], str)
    return document["response"]


LogIn: TypeAlias = Callable[..., Zipwhip]


@pytest.fixture
def log_in(server: str, make_key: MakeKey) -> LogIn:
    """The API, called with the session of a new key of an account, with these scopes."""

    def make(account: str | None = "acme", *scopes: Scope, **options: Any) -> Zipwhip:
        username, _, password = make_key(account, *(scopes or (Scope.READ, Scope.MANAGE)), **options).partition(".")
        answer = Zipwhip(server, username, password).ask("user/login", username=username, password=password)
        return Zipwhip(server, username, password, answer.json()["response"])

    return make


@pytest.fixture
def zipwhip(database: Engine, log_in: LogIn) -> Zipwhip:
    return log_in()
