"""The API and the command line change the same webhook at the same time."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from tests.behaviours import Answer
from tests.factories import rows
from tests.integration.api.conftest import Api, api, make_key, manager, restarted, running, server
from tests.integration.cli.conftest import Cli, cli
from tests.receiver import Receiver

__all__ = ["api", "cli", "make_key", "manager", "restarted", "running", "server"]


@pytest.fixture
def webhook(api: Api, manager: str, receiver: Receiver) -> str:
    body = {"url": receiver.url("/hook"), "event_types": ["a"]}
    return str(api.call("POST", "/v1/webhooks", body, token=manager).json()["id"])


def test_who_is_overtaken_by_the_command_line_twice_is_asked_to_begin_again(
    api: Api, cli: Cli, manager: str, database: Engine, receiver: Receiver, webhook: str
) -> None:
    gates = [receiver.gate(), receiver.gate()]
    receiver.script("/held", *[(held, *Answer(204).steps()) for held in gates])
    change = {"url": receiver.url("/held"), "name": "lost"}
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(api.call, "PATCH", f"/v1/webhooks/{webhook}", change, token=manager)
        for count, held in enumerate(gates, 1):
            receiver.wait_for(count + 1)  # the first one tested the webhook when it was made
            assert cli("webhook", "update", webhook, "--headers-from", "-", stdin=f"X-Count: {count}\n").status == 0
            held.open()
        answer = late.result(30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (409, "application/problem+json")
    assert "try again" in answer.json()["detail"]
    shown = cli("webhook", "show", webhook, "--reveal", "--json").document
    assert (shown["url"], shown["name"]) == (receiver.url("/hook"), None)
    actors = [row.actor_kind for row in rows(database, "SELECT actor_kind FROM dispatcher.audit ORDER BY id")]
    assert actors[-2:] == ["command_line"] * 2


def test_neither_loses_what_the_other_changes(api: Api, cli: Cli, manager: str, database: Engine, webhook: str) -> None:
    def through_the_api(turn: int) -> Any:
        body = {"contact_email": f"c{turn}@example.com"}
        return api.call("PATCH", f"/v1/webhooks/{webhook}", body, token=manager).status_code

    (before,) = rows(database, "SELECT version FROM dispatcher.webhooks")
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(through_the_api, turn) for turn in range(12)]
        for turn in range(12):
            assert cli("webhook", "update", webhook, "--name", f"name {turn}").status == 0
        assert {answer.result(60) for answer in answers} == {200}
    (row,) = rows(database, "SELECT * FROM dispatcher.webhooks")
    assert (row.id, row.name, row.version) == (UUID(webhook), "name 11", before.version + 24)
    assert row.contact_email is not None
    assert len(rows(database, "SELECT 1 FROM dispatcher.audit WHERE action = 'webhook.changed'")) == 24
