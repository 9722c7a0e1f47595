"""Secrets in vendors' answers: in clear for who may change them, with an entry in the audit log; masked for others."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.asgi import app
from tests.dialects.everlytic.conftest import PATH as EVERLYTIC
from tests.factories import change, rows
from tests.integration.api.conftest import Api, MakeKey
from tests.routes import operations_of

SECRET, PASSWORD, CLIENT = "planted-sinch-secret", "planted-everlytic-password", "planted-client-secret"
ENDPOINT = "https://example.com/token?key=planted-in-endpoint"
SINCH = "/sinch/v1/projects/acme"
OF_EVERLYTIC = {
    "event_types": ["sent"],
    "url": "https://example.com/hook",
    "verb": "POST",
    "auth_type": "basic",
    "auth_details": {"username": "user", "password": PASSWORD},
}
OF_SINCH = {
    "app_id": "a",
    "target": "https://example.com/hook",
    "triggers": ["MESSAGE_INBOUND"],
    "secret": SECRET,
    "client_credentials": {"client_id": "id", "client_secret": CLIENT, "endpoint": ENDPOINT},
}
PLANTED = (SECRET, PASSWORD, CLIENT, "planted-in-endpoint", "planted-native", "planted-header")


class World:
    """Webhooks with secrets, one made through each API that takes some, and two keys of their account."""

    def __init__(self, api: Api, make_key: MakeKey) -> None:
        self.api = api
        self.manager, self.reader = make_key("acme", Scope.READ, Scope.MANAGE), make_key("acme", Scope.READ)
        self.sinch = self.call("POST", f"{SINCH}/webhooks", OF_SINCH)["id"]
        made = self.call("POST", EVERLYTIC, {"webhook": OF_EVERLYTIC})
        self.everlytic = made["data"]["webhook"]["id"]
        native = {
            "url": "https://example.com/hook",
            "event_types": ["*"],
            "authorization": {"kind": "basic", "username": "u", "password": "planted-native"},
            "headers": {"X-Api-Key": "planted-header"},
            "enabled": False,
        }
        made = self.call("POST", "/v1/webhooks", native)
        self.native, self.signing_key = made["id"], made["signing_keys"][0]["secret"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.api.call(method, path, body, token=self.manager)
        assert answer.ok, answer.text
        return answer.json()

    def shown(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """How an answer shows stored secrets, and which."""
        yield "GET", f"{SINCH}/webhooks/{self.sinch}", (SECRET, CLIENT)
        yield "GET", f"{SINCH}/apps/a/webhooks", (SECRET, CLIENT)
        yield "GET", f"{EVERLYTIC}/{self.everlytic}", (PASSWORD,)
        yield "GET", EVERLYTIC, (PASSWORD,)


@pytest.fixture
def world(api: Api, make_key: MakeKey, broker: object) -> World:
    return World(api, make_key)


@pytest.fixture
def api(server: str) -> Api:
    return Api(server)


def noted(database: Engine) -> list[tuple[str, str, str | None, dict[str, Any]]]:
    found = rows(database, "SELECT action, target_id, dialect, detail FROM dispatcher.audit ORDER BY id")
    return [(row.action, str(row.target_id), row.dialect, row.detail) for row in found]


def test_who_may_only_read_sees_no_secret_by_any_route(world: World) -> None:
    ids = {"project_id": "acme", "brandId": "acme", "app_id": "a", "name": "acme"}
    seen = 0
    for operation in operations_of(app):
        for identifier in (world.sinch, world.everlytic, world.native):
            answer = world.api.call(operation.method, operation.at(ids, identifier), token=world.reader)
            for planted in (*PLANTED, world.signing_key):
                assert planted not in answer.text, (operation, planted)
            seen += answer.ok and identifier in answer.text
    assert seen >= 10, "it looks at webhooks"


def test_an_operators_key_that_may_only_look_sees_none_either(world: World, make_key: MakeKey) -> None:
    observer, ids = make_key(None, Scope.OBSERVE), {"project_id": "acme", "brandId": "acme", "app_id": "a"}
    seen = 0
    for operation in operations_of(app):
        for identifier in (world.sinch, world.everlytic) if operation.prefix and operation.method == "GET" else ():
            named = "?account=acme" if "everlytic" in operation.prefix else ""
            answer = world.api.call("GET", operation.at(ids, identifier) + named, token=observer)
            for planted in PLANTED:
                assert planted not in answer.text, (operation, planted)
            seen += answer.ok and identifier in answer.text
    assert seen >= 4, "it looks at webhooks"


def test_in_place_of_a_secret_it_sees_the_mask_in_the_vendors_form(world: World) -> None:
    for method, path, _ in world.shown():
        assert world.api.call(method, path, token=world.reader).status_code == 200
    sinch = world.api.call("GET", f"{SINCH}/webhooks/{world.sinch}", token=world.reader).json()
    assert sinch["secret"] == "***"
    assert sinch["client_credentials"] == {
        "client_id": "id",
        "client_secret": "***",
        "endpoint": "https://example.com/token?key=***",
    }
    assert sinch["target"] == OF_SINCH["target"]
    everlytic = world.api.call("GET", f"{EVERLYTIC}/{world.everlytic}", token=world.reader).json()
    assert everlytic["data"]["webhook"]["auth_details"] == {"username": "user", "password": "***"}


def test_who_only_sees_masks_leaves_no_entry(world: World, database: Engine) -> None:
    change(database, "DELETE FROM dispatcher.audit")
    for method, path, _ in world.shown():
        world.api.call(method, path, token=world.reader)
    assert noted(database) == []


def test_who_may_change_them_sees_them_and_that_is_noted(world: World, database: Engine) -> None:
    (account,) = rows(database, "SELECT id FROM dispatcher.accounts WHERE name = 'acme'")
    change(database, "DELETE FROM dispatcher.audit")
    for method, path, secrets in world.shown():
        answer = world.api.call(method, path, token=world.manager)
        for secret in secrets:
            assert secret in answer.text
    assert noted(database) == [
        ("webhook.secrets_shown", world.sinch, "sinch", {}),
        ("account.secrets_shown", str(account.id), "sinch", {"webhooks": 1}),
        ("webhook.secrets_shown", world.everlytic, "everlytic", {}),
        ("account.secrets_shown", str(account.id), "everlytic", {"webhooks": 1}),
    ]


def test_a_change_that_changes_nothing_is_noted_because_its_answer_shows_secrets(
    world: World, database: Engine
) -> None:
    change(database, "DELETE FROM dispatcher.audit")
    for path, body in (
        (f"{EVERLYTIC}/{world.everlytic}", {"webhook": {"url": OF_EVERLYTIC["url"], "verb": "POST"}}),
        (f"{SINCH}/webhooks/{world.sinch}", {"app_id": "a"}),
    ):
        method = "PATCH" if "sinch" in path else "PUT"
        assert (
            "planted"
            in requests.request(
                method,
                world.api.origin + path,
                json=body,
                headers={"Authorization": f"Bearer {world.manager}"},
                timeout=30,
            ).text
        )
    assert [entry[:2] for entry in noted(database)] == [
        ("webhook.secrets_shown", world.everlytic),
        ("webhook.secrets_shown", world.sinch),
    ]
