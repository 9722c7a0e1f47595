"""What it costs to make and to change a webhook: transactions, statements, opened secrets, contracts read."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, event

from dispatcher.accounts.api_keys import Scope
from dispatcher.asgi import create_app
from dispatcher.encryption.vault import EncryptionKeys, Place
from dispatcher.installation import Installation
from dispatcher.webhooks import contract
from tests.factories import make_account
from tests.integration.api.conftest import MakeKey, make_key, running_app
from tests.receiver import Receiver

__all__ = ["make_key"]


class Costs:
    """Counted on every connection of an installation."""

    def __init__(self, installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clear()
        for engine in (installation.engine, installation.statements):
            event.listen(engine, "begin", self._begun)
            event.listen(engine, "before_cursor_execute", self._executed)
        decrypt, schedules = EncryptionKeys.decrypt, contract.SCHEDULES

        def opened(keys: EncryptionKeys, ciphertext: bytes, place: Place) -> str:
            self.opened[bytes(ciphertext)] += 1
            return decrypt(keys, ciphertext, place)

        class Schedules(dict[str, Any]):
            def __contains__(_, name: object) -> bool:  # noqa: N805 - asked with each contract that is read
                self.parses += 1
                return name in schedules

        monkeypatch.setattr(EncryptionKeys, "decrypt", opened)
        monkeypatch.setattr(contract, "SCHEDULES", Schedules(schedules))

    def clear(self) -> None:
        self.transactions, self.statements, self.parses = 0, list[str](), 0
        self.opened: Counter[bytes] = Counter()

    def _begun(self, _: object) -> None:
        self.transactions += 1

    def _executed(self, *arguments: Any) -> None:
        self.statements.append(arguments[2])


@pytest.fixture
def costs(database: Engine, installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Costs:
    make_account(database)
    assert installation.vault
    return Costs(installation, monkeypatch)


@pytest.fixture
def origin(costs: Costs, installation: Installation) -> Iterator[str]:
    with running_app(create_app(installation)) as origin:
        yield origin


@pytest.fixture
def keys(make_key: MakeKey) -> dict[str, tuple[str, str]]:
    """An account's and an operator's, not used before: the first use in a minute is noted, in a statement more."""
    tokens = {"account": make_key("acme", Scope.READ, Scope.MANAGE), "operator": make_key(None, Scope.OPERATOR)}
    parts = {name: token.split(".") for name, token in tokens.items()}
    return {name: (identifier, secret) for name, (identifier, secret) in parts.items()}


@contextmanager
def at_most(costs: Costs, transactions: int, statements: int | None = None) -> Iterator[None]:
    costs.clear()
    yield
    assert costs.transactions <= transactions, costs.statements
    assert statements is None or len(costs.statements) <= statements, costs.statements
    assert all(times == 1 for times in costs.opened.values())


def call(method: str, url: str, key: tuple[str, str], body: Any = None) -> Any:
    answer = requests.request(method, url, json=body, auth=key, timeout=60)
    assert answer.ok, answer.text
    return answer.json() if answer.content else None


@pytest.mark.parametrize("kind", ["account", "operator"])
def test_to_register_takes_three_transactions_twelve_statements_and_opens_nothing(
    origin: str, costs: Costs, keys: dict[str, Any], receiver: Receiver, kind: str
) -> None:
    body = {
        "url": receiver.url("/hook?token=a"),
        "event_types": ["a", "b"],
        "account": "acme",
        "name": "main",
        "contract": {"schedule": "doubling", "rate_limit": 5},
        "headers": {"X-Key": "k"},
    }
    with at_most(costs, 3, 12):
        made = call("POST", f"{origin}/v1/webhooks", keys[kind], body)
    assert (sum(costs.opened.values()), costs.parses) == (0, 1)
    assert len(receiver.received) == 1
    assert call("GET", f"{origin}/v1/webhooks/{made['id']}", keys[kind])["contract"] == made["contract"]


@pytest.mark.parametrize("kind", ["account", "operator"])
def test_to_change_takes_one_reading_and_one_writing_transaction_beside_the_keys(
    origin: str, costs: Costs, keys: dict[str, Any], receiver: Receiver, kind: str
) -> None:
    body = {"url": receiver.url("/Ä?token=a"), "event_types": ["a"], "account": "acme", "name": "main"}
    made = call("POST", f"{origin}/v1/webhooks", keys[kind], body)
    url = f"{origin}/v1/webhooks/{made['id']}"
    for changes in (
        {"name": "other"},
        {"headers": {"X-Key": "k"}, "contract": {"timeout_seconds": 5}},
        {"url": receiver.url("/Ö"), "event_types": ["b"], "app": "shop"},
    ):
        with at_most(costs, 3):
            call("PATCH", url, keys[kind], changes)
    for action in ("disable", "enable", "rotate-secret"):
        with at_most(costs, 3):
            call("POST", f"{url}/{action}", keys[kind], {})
    assert len(receiver.received) == 4


def test_dialects_take_one_transaction_more_at_most_and_one_if_they_show_secrets(
    origin: str, costs: Costs, keys: dict[str, Any], receiver: Receiver
) -> None:
    key = keys["account"]
    entry = {"name": "n", "url": receiver.url("/bulksms"), "triggerScope": "SENT"}
    with at_most(costs, 4):
        made = call("POST", f"{origin}/bulksms/v1/webhooks", key, entry)
    with at_most(costs, 4):
        call("POST", f"{origin}/bulksms/v1/webhooks/{made['id']}", key, {**entry, "name": "m"})

    everlytic = f"{origin}/everlytic/api/2.0/production/sms/webhooks"
    details = {"auth_type": "basic", "auth_details": {"username": "u", "password": "p"}}
    payload = {"event_types": ["sent"], "url": receiver.url("/everlytic"), "verb": "post", **details}
    with at_most(costs, 2):
        made = call("POST", everlytic, key, {"webhook": payload})
    path = f"{everlytic}/{made['data']['webhook']['id']}"
    for change in ({"status": "disabled"}, {"auth_details": {"username": "v", "password": "q"}}):
        with at_most(costs, 4):  # one of them notes that the answer shows secrets
            call("PUT", path, key, {"webhook": change})

    flexengage = f"{origin}/flexengage/v1/acme/webhooks"
    with at_most(costs, 4):
        made = call("POST", flexengage, key, {"endpoint": "https://hooks.example.com/", "events": ["a"]})
    with at_most(costs, 4):
        call("PATCH", f"{flexengage}/{made['id']}", key, {"enabled": False})

    sinch = f"{origin}/sinch/v1/projects/acme/webhooks"
    members = {"app_id": "app", "target": "https://hooks.example.com/s", "triggers": ["OPT_IN"], "secret": "s"}
    with at_most(costs, 4):
        made = call("POST", sinch, key, members)
    with at_most(costs, 5):
        call("PATCH", f"{sinch}/{made['id']}", key, {"triggers": ["OPT_OUT"], "secret": "t"})

    zipwhip = f"{origin}/zipwhip"
    login = requests.get(f"{zipwhip}/user/login", {"username": key[0], "password": key[1]}, timeout=30).json()
    given = {"session": login["response"], "type": "message", "event": "send", "url": "https://hooks.example.com/z"}
    with at_most(costs, 4):
        found = requests.get(f"{zipwhip}/webhook/add", given, timeout=30).json()
    number = found["response"][0]["webhookId"]
    with at_most(costs, 4):
        changes = {"session": login["response"], "webhookId": number, "method": "PUT"}
        assert requests.get(f"{zipwhip}/webhook/update", changes, timeout=30).json()["success"]


def test_a_dialect_that_looks_for_the_same_url_opens_no_other_webhook(
    origin: str, costs: Costs, keys: dict[str, Any]
) -> None:
    flexengage = f"{origin}/flexengage/v1/acme/webhooks"
    for path in ("a", "b", "c"):
        call("POST", flexengage, keys["account"], {"endpoint": f"https://hooks.example.com/ä{path}", "events": ["a"]})
    with at_most(costs, 4):
        call("POST", flexengage, keys["account"], {"endpoint": "https://hooks.example.com/", "events": ["a"]})
    assert sum(costs.opened.values()) == 0
    with at_most(costs, 4):
        call("POST", flexengage, keys["account"], {"endpoint": "https://hooks.example.com/%C3%A4a", "events": ["b"]})
    assert sum(costs.opened.values()) == 0
