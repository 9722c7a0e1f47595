"""A query that holds what its route does not know is refused before any effect; others' protocols pass it over."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.asgi import app
from dispatcher.db.models import Base
from dispatcher.settings import Settings
from dispatcher.web import query_parameters
from tests.factories import deliveries, make_quarantined_notice, make_recipient, make_webhook, rows
from tests.hostile_values import steering
from tests.integration.api.conftest import Api, MakeKey, errors
from tests.process_table import eventually
from tests.routes import Operation, operations_of

OPERATIONS = list(operations_of(app))
PASSING_OVER = {
    "/healthz", "/readyz", "/metrics", "/oauth2/token", "/", "/docs", "/docs/style.css", "/openapi.json", "/contact",
}  # fmt: skip
NATIVE = [operation for operation in OPERATIONS if not operation.prefix and operation.path not in PASSING_OVER]
OTHERS = [operation for operation in OPERATIONS if operation not in NATIVE]
# With these each call would have an effect.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/events"): {"type": "a", "data": 1, "account": "acme"},
    ("POST", "/v1/events/batch"): {"events": [{"type": "a", "data": 1, "account": "acme"}]},
    ("POST", "/v1/webhooks"): {
        "url": "https://example.com/new",
        "event_types": ["*"],
        "account": "acme",
        "skip_url_verification": True,
    },
    ("PATCH", "/v1/webhooks/{webhook_id}"): {"name": "changed"},
    ("POST", "/v1/webhooks/{webhook_id}/enable"): {"skip_url_verification": True},
    ("POST", "/v1/events/{event_id}/deliveries"): {"webhook": "{webhook_id}"},
    ("POST", "/v1/webhooks/{webhook_id}/replay"): {"since": "2026-01-01T00:00:00Z"},
    ("POST", "/v1/redeliveries"): {"filter": {}, "account": "acme"},
    ("POST", "/v1/accounts"): {"name": "globex"},
    ("POST", "/v1/keys"): {"account": "acme", "scopes": ["read"]},
}


TABLES = [name for name in Base.metadata.tables if name != "dispatcher.processes"]


def everything(database: Engine) -> dict[str, list[str]]:
    """All rows of all tables, without the times of use, and without the heartbeats of the server."""
    statement = "SELECT CAST(to_jsonb(row) - 'last_used_at' AS text) AS text FROM {} AS row ORDER BY 1"
    return {table: [row.text for row in rows(database, statement.format(table))] for table in TABLES}


@pytest.fixture
def there(database: Engine, settings: Settings, api: Api, operator: str) -> dict[str, object]:
    """The ids of things that are there, by the names of paths' parameters."""
    webhook = make_webhook(database, settings, url="https://example.com/")
    event = enqueue("message.sent", 1, account="acme")
    ordered = api.call("POST", "/v1/redeliveries", {"filter": {}, "account": "acme"}, token=operator)
    made = api.call("POST", "/v1/keys", {"account": "acme", "scopes": ["read"]}, token=operator)
    return {
        "name": "acme",
        "webhook_id": webhook.id,
        "event_id": event.event_id,
        "delivery_id": deliveries(database)[0].id,
        "notice_id": make_quarantined_notice(database),
        "contact_id": make_recipient(database),
        "redelivery_id": ordered.json()["id"],
        "key_id": made.json()["id"],
    }


def test_every_native_route_refuses_an_unknown_parameter_before_any_effect(
    api: Api, operator: str, database: Engine, there: dict[str, object]
) -> None:
    before = everything(database)
    for operation in NATIVE:
        body = BODIES.get((operation.method, operation.path))
        if body == {"webhook": "{webhook_id}"}:
            body = {"webhook": str(there["webhook_id"])}
        answer = api.call(operation.method, f"{operation.at(there, '?')}?colour=red", body, token=operator)
        assert (answer.status_code, errors(answer)) == (422, {"colour": "is not known"}), operation
    assert everything(database) == before
    assert len(NATIVE) > 25


def test_without_a_key_no_native_route_shows_its_parameters(api: Api, there: dict[str, object]) -> None:
    for operation in NATIVE:
        answer = api.call(operation.method, f"{operation.at(there, '?')}?colour=red")
        assert answer.status_code == 401, operation


UNKNOWN_PARAMETERS = [
    ("GET", "/v1/events", "limt=5", {"limt": "is not known: the nearest is `limit`"}),
    ("GET", "/v1/events", "types=a", {"types": "is not known: the nearest is `type`"}),
    ("GET", "/v1/webhooks", "LIMIT=5", {"LIMIT": "is not known: the nearest is `limit`"}),
    ("GET", "/v1/deliveries", "status=discarded", {"status": "is not known: the nearest is `state`"}),
    ("GET", "/v1/notices", "=5", {"query": "is not known"}),
    ("GET", "/v1/keys", "limit=1&limit=2", {"limit": "is given more than once"}),
    ("GET", "/v1/accounts", "a=1&limit=1&b=2&a=3", {"a": "is not known", "b": "is not known"}),
    ("POST", "/v1/redeliveries", "dry_run=true", {"dry_run": "is not known in the query: it is a member of the body"}),
    ("POST", "/v1/redeliveries", "dryrun", {"dryrun": "is not known: the nearest is `dry_run`, a member of the body"}),
    ("POST", "/v1/events", "type=a", {"type": "is not known in the query: it is a member of the body"}),
    ("POST", "/v1/events/batch", "events=", {"events": "is not known in the query: it is a member of the body"}),
]


@pytest.mark.parametrize(("method", "path", "query", "told"), UNKNOWN_PARAMETERS)
def test_the_refusal_says_what_was_probably_meant(
    api: Api, operator: str, database: Engine, method: str, path: str, query: str, told: dict[str, str]
) -> None:
    answer = api.call(method, f"{path}?{query}", BODIES.get((method, path)), token=operator)
    assert (answer.status_code, errors(answer)) == (422, told)


def test_a_bulk_redelivery_that_only_the_query_calls_a_dry_run_is_not_ordered(
    api: Api, manager: str, database: Engine
) -> None:
    assert api.call("POST", "/v1/redeliveries?dry_run=true", {"filter": {}}, token=manager).status_code == 422
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []
    answer = api.call("POST", "/v1/redeliveries", {"filter": {}, "dry_run": True}, token=manager)
    assert (answer.status_code, answer.json()) == (200, {"matched": 0, "matched_complete": True})


def test_of_very_many_the_first_are_reported_in_harmless_form(api: Api, manager: str) -> None:
    hostile = "%1b[2J%e2%80%ae" + "x" * 255
    query = "&".join(f"{number}{hostile}={number}" for number in range(25))
    answer = api.call("GET", f"/v1/events?{query}", token=manager)
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 20)
    assert answer.content.isascii()
    assert not steering(answer.text, allowed="")
    assert max(len(error["field"]) for error in answer.json()["errors"]) <= 255


def test_of_very_many_the_nearest_is_sought_for_the_first_alone(
    api: Api, manager: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def near(name: str, known: Collection[str], n: int) -> list[str]:
        compared.append(name)
        return get_close_matches(name, known, n)

    monkeypatch.setattr(query_parameters, "get_close_matches", near)
    answer = api.call("GET", f"/v1/events?limt=1&{'&'.join(f'limit{number}' for number in range(90))}", token=manager)
    reasons = list(errors(answer).values())
    assert reasons == ["is not known: the nearest is `limit`"] * 3 + ["is not known"] * 17
    assert compared == ["limt", "limit0", "limit1"]


def test_a_request_that_is_refused_for_its_query_is_logged_with_its_key(
    api: Api, manager: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "dispatcher.api.access"):
        api.call("GET", "/v1/events?colour=red", token=manager)
        key = str(UUID(manager.partition(".")[0]))
        # It is written once the answer is sent.
        assert eventually(lambda: key in [record.__dict__.get("key") for record in caplog.records])


def test_probes_tokens_and_dialects_pass_unknown_parameters_over(api: Api, make_key: MakeKey, broker: object) -> None:
    auth = tuple(make_key("acme", Scope.READ, Scope.SEND, Scope.MANAGE).split("."))

    def ask(operation: Operation, query: str) -> requests.Response:
        path = operation.at({"project_id": "acme", "brandId": "acme"}, "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00")
        form = {"data": "grant_type=client_credentials"} if path.endswith("/oauth2/token") else {}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return requests.request(operation.method, f"{api.origin}{path}{query}", auth=auth, headers=headers, **form)

    for operation in OTHERS:
        plain, with_more = ask(operation, ""), ask(operation, "?colour=red")
        assert with_more.status_code == plain.status_code, operation
        assert "colour" not in with_more.text, operation
        if operation.path in PASSING_OVER - {"/metrics", "/contact"}:  # which need a token, and a link
            assert with_more.status_code == 200, operation
