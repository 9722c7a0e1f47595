"""A caller of the flexEngage dialect, and a receiver that uses TLS, as its webhooks require."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.settings import Settings
from tests.certificates import Authority, new_authority
from tests.integration.api.conftest import MakeKey
from tests.receiver import Receiver

TYPE = "NOTIFICATION.SMS.RECEIPT"


@dataclass(frozen=True, slots=True)
class FlexEngage:
    """The API for one brand, called with one key."""

    origin: str
    token: str
    brand: str = "acme"

    def call(self, method: str, path: str = "", **arguments: Any) -> requests.Response:
        """A call to the brand's webhooks or below them, with the key as Bearer unless `headers` say otherwise."""
        url = f"{self.origin}/flexengage/v1/{self.brand}/webhooks{path}"
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, url, timeout=30, **{"headers": headers, **arguments})

    def create(self, endpoint: str = "https://example.com/hook", *events: str, **members: Any) -> dict[str, Any]:
        made = self.call("POST", json={"endpoint": endpoint, "events": events or [TYPE], **members})
        assert made.status_code == 201, made.text
        document: dict[str, Any] = made.json()
        return document

    def events(self, webhook: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        answer = self.call("GET", f"/{webhook['id']}/events", params=parameters)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    def event(self, webhook: dict[str, Any], event: object) -> dict[str, Any]:
        answer = self.call("GET", f"/{webhook['id']}/events/{event}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


CallerOf: TypeAlias = Callable[..., FlexEngage]


def error(answer: requests.Response) -> tuple[int, str]:
    """The status and description of an answer, which must be an error in the vendor's form."""
    document = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert list(document)[:3] == ["message", "description", "status"]
    assert set(document) <= {"message", "description", "status", "validations"}
    assert document["status"] == answer.status_code
    return answer.status_code, document["description"]


@pytest.fixture
def caller_of(server: str, make_key: MakeKey) -> CallerOf:
    """The API, called with a new key of an account, with these scopes."""

    def make(account: str | None = "acme", *scopes: Scope, brand: str | None = None, **options: Any) -> FlexEngage:
        token = make_key(account, *(scopes or (Scope.READ, Scope.MANAGE)), **options)
        return FlexEngage(server, token, brand or account or "acme")

    return make


@pytest.fixture
def flexengage(database: Engine, caller_of: CallerOf) -> FlexEngage:
    return caller_of()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def settings(settings: Settings, authority: Authority) -> Settings:
    """Workers trust the receiver below."""
    return settings.model_copy(update={"ca_bundle": authority.bundle})


@pytest.fixture
def receiver(authority: Authority) -> Iterator[Receiver]:
    with Receiver(tls=authority.server("127.0.0.1")) as running:
        yield running
