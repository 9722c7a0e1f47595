"""The release before goes on taking events and delivering, beside this one, on the tables of this one."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.asgi import create_app
from dispatcher.db.version import newest_migration
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import (
    attempts,
    deliver_all,
    deliveries,
    in_use_before,
    make_account,
    make_webhook,
    rows,
    upkeep_once,
)
from tests.integration.api.conftest import Api, running_app
from tests.receiver import Receiver
from tests.releases import unpack

_DEFAULTS = "SELECT relname FROM pg_class WHERE pg_get_expr(relpartbound, oid) = 'DEFAULT'"
SCRIPT = Path(__file__).with_name("process_of_0_2.py")


class OldProcess:
    """A process with the code of 0.2.0. It carries out one order after the other."""

    def __init__(self, code: Path, log: Path) -> None:
        command = [sys.executable, "-P", str(SCRIPT)]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONPATH": str(code)},
            )
        self._log = log
        self.code, self.newest_migration = self.answer()

    def order(self, *words: object) -> None:
        """Gives an order and does not wait."""
        assert self._process.stdin is not None
        print(json.dumps(words), file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        """To the oldest order that is not answered yet."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)

    def ask(self, *words: object) -> Any:
        """Gives an order and waits for its answer."""
        self.order(*words)
        return self.answer()

    def end(self) -> None:
        """Waits until it has done everything."""
        self._process.communicate(timeout=30)


@pytest.fixture(autouse=True)
def as_upgraded(database: Engine) -> Iterator[None]:
    """A database that 0.2.0 has used: nothing is bound yet that it could not open."""
    with in_use_before(database):
        yield


@pytest.fixture
def old(tmp_path: Path, settings: Settings, as_upgraded: None) -> Iterator[OldProcess]:
    """A process of 0.2.0 on this test's servers."""
    try:
        unpack("0.2.0", tmp_path / "0.2.0")
    except LookupError as error:
        pytest.skip(f"needs the code of 0.2.0 from the history: {error}")
    process = OldProcess(tmp_path / "0.2.0", tmp_path / "log")
    yield process
    process.end()


def store(first: int, end: int) -> int:
    return sum(enqueue("message.sent", {"n": n}, account="acme").deliveries for n in range(first, end))


def test_0_2_takes_events_and_delivers_beside_this_version_and_each_goes_out_once(
    database: Engine, settings: Settings, receiver: Receiver, old: OldProcess, tmp_path: Path
) -> None:
    assert old.code == str(tmp_path / "0.2.0"), "it runs this version's code"
    assert old.newest_migration < newest_migration()
    new_webhook = make_webhook(database, settings, url=receiver.url("/new"))
    old_webhook = old.ask("register", "acme", receiver.url("/before"))
    old.ask("move", old_webhook, receiver.url("/old"))

    # What this version stores, 0.2.0 delivers.
    assert store(0, 30) == 60
    assert old.ask("deliver") == 60

    # Both at once.
    stored = delivered = 0
    for n in range(30, 190, 40):
        old.order("store", "acme", n, n + 20)
        old.order("deliver")
        stored += store(n + 20, n + 40)
        delivered += deliver_all(settings)["delivered"]
        stored += old.answer()
        delivered += old.answer()
    old.ask("maintain")
    assert (stored, delivered) == (320, 320)

    # What 0.2.0 leaves, this version delivers, and fills in.
    assert old.ask("store", "acme", 190, 220) == 60
    old.end()
    assert {row.account_no for row in deliveries(database) if row.state == "ready"} == {0}
    assert upkeep_once(settings)["webhooks_filled"] == 1
    assert rows(database, _DEFAULTS) == [], "0.2.0 makes them, this version takes them away"
    assert deliver_all(settings)["delivered"] == 60

    sent = Counter((callback.path, callback.json()[0]["n"]) for callback in receiver.received)
    assert sent == Counter((path, n) for path in ("/old", "/new") for n in range(220))
    assert {(row.state, row.attempt_count) for row in deliveries(database)} == {("delivered", 1)}
    assert len(attempts(database)) == 440
    filled = rows(database, "SELECT account_no, destination FROM dispatcher.webhooks")
    assert {tuple(row) for row in filled} == {(new_webhook.account_no, new_webhook.destination)}


def test_the_api_of_0_2_serves_beside_this_ones_and_each_goes_on_with_what_the_other_did(
    database: Engine, settings: Settings, installation: Installation, receiver: Receiver, old: OldProcess
) -> None:
    make_account(database)
    key = old.ask("make a key", "acme")
    with running_app(create_app(installation)) as origin:
        apis = Api(origin), Api(old.ask("serve"))
        webhook = apis[0].call("POST", "/v1/webhooks", {"url": receiver.url("/hook"), "event_types": ["*"]}, token=key)
        assert webhook.status_code == 201, webhook.text
        path = f"/v1/webhooks/{webhook.json()['id']}"
        for n, api in enumerate((*apis, *apis)):
            changed = api.call("PATCH", path, {"name": f"name {n}"}, token=key)
            assert changed.status_code == 200, changed.text
            stored = api.call("POST", "/v1/events", {"type": "a", "data": n}, token=key)
            assert stored.status_code == 202, stored.text
            for other in apis:
                assert other.call("GET", path, token=key).json()["name"] == f"name {n}"
                assert other.call("GET", f"/v1/events/{stored.json()['event_id']}", token=key).status_code == 200
        assert deliver_all(settings)["delivered"] == 4
        for api in apis:
            listed = api.call("GET", f"/v1/deliveries?webhook={webhook.json()['id']}", token=key)
            assert listed.status_code == 200, listed.text
            assert [item["state"] for item in listed.json()["items"]] == ["delivered"] * 4
