"""What customers and receivers wrote, in answers of every API: harmless to a terminal, and the same to a program."""

from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.asgi import app
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import change, deliver_all, make_webhook, rows
from tests.hostile_values import steering
from tests.integration.api.conftest import Api, MakeKey, api, make_key, restarted, running, server
from tests.receiver import Receiver
from tests.routes import operations_of

__all__ = ["api", "make_key", "restarted", "running", "server"]

HOSTILE = "a\x9b2J\x9d0;owned\x9c \u202egnp.exe\u2066 \u200b\ufeff \x7f b"
PREFIXES = {"": None, "/bulksms": "bulksms", "/everlytic": "everlytic", "/flexengage": "flexengage", "/sinch": "sinch"}


def is_harmless(answer: requests.Response) -> bool:
    return not steering(answer.content.decode(), allowed="\n\t\r\u200c\u200d")


def call_all(api: Api, method: str, key: str, ids: dict[str, Any]) -> list[requests.Response]:
    made = []
    for operation in operations_of(app):
        if operation.method == method:
            made.append(api.call(method, operation.at(ids, ids["webhook_id"]), token=key))
    return made


def test_no_answer_of_any_route_steers_a_terminal(
    api: Api, make_key: MakeKey, database: Engine, settings: Settings, receiver: Receiver, broker: object
) -> None:
    receiver.behaviour = Answer(500, body=HOSTILE.encode(), headers={"X-Note": "n"})
    made = make_webhook(database, settings, url=receiver.url("/hook"), event_types=["*"])
    accepted = enqueue("a.b", {"text": HOSTILE}, account="acme", subject="subject")
    deliver_all(settings)
    for column in ("name", "app", "disabled_reason"):
        change(database, f"UPDATE dispatcher.webhooks SET {column} = :it", it=HOSTILE)
    change(database, "UPDATE dispatcher.events SET subject = :it", it=HOSTILE)
    (delivery,) = rows(database, "SELECT id FROM dispatcher.deliveries")
    ids = {
        "webhook_id": made.id,
        "event_id": accepted.event_id,
        "eventId": delivery.id,
        "delivery_id": delivery.id,
        "brandId": "acme",
        "project_id": "acme",
        "id": made.id,
        "name": "acme",
    }
    shown = 0
    for dialect in PREFIXES.values():
        change(database, "UPDATE dispatcher.webhooks SET dialect = :it", it=dialect)
        for scopes, account in (((Scope.READ, Scope.MANAGE), "acme"), ((Scope.OPERATOR,), None)):
            for answer in call_all(api, "GET", make_key(account, *scopes), ids):
                assert is_harmless(answer), (answer.url, answer.text)
                shown += r"\u202e" in answer.text
    assert shown >= 10, "answers show what others wrote"


def test_a_program_reads_what_was_written(
    api: Api, make_key: MakeKey, database: Engine, settings: Settings, receiver: Receiver, broker: object
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"), name="n")
    change(database, "UPDATE dispatcher.webhooks SET name = :it", it=HOSTILE)
    key = make_key("acme", Scope.READ)
    accepted = enqueue("a.b", {"text": HOSTILE, "n": 9007199254740993}, account="acme")
    assert isinstance(accepted.event_id, UUID)
    listed = api.call("GET", "/v1/webhooks", token=key)
    assert [item["name"] for item in listed.json()["items"]] == [HOSTILE]
    shown = api.call("GET", f"/v1/events/{accepted.event_id}", token=key)
    assert shown.json()["data"] == {"text": HOSTILE, "n": 9007199254740993}
    assert int(shown.headers["Content-Length"]) == len(shown.content)


@pytest.mark.parametrize(
    "path", ["/v1/webhooks?app=%C2%9B2J%E2%80%AE", "/bulksms/v1/webhooks/%C2%9B%E2%80%AE", "/nowhere%C2%9B"]
)
def test_so_does_no_error_that_repeats_a_request(api: Api, make_key: MakeKey, database: Engine, path: str) -> None:
    assert is_harmless(api.call("GET", path, token=make_key("acme", Scope.READ)))
