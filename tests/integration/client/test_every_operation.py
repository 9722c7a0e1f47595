"""Both clients have a method for each operation of docs/openapi.json: it sends what the document says, and returns what
the document shows. A real server plays the document."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode
from uuid import UUID

import jsonschema_rs
import pytest

from dispatcher.client import AsyncClient, Client, Problem
from tests.behaviours import Answer, Received
from tests.receiver import Receiver

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs/openapi.json").read_text())
PROBLEM = {"$ref": "#/components/schemas/Problem"}
KEY = "0198a6c811d27f4e95a36b8c0d2e4f61.planted"
CURSOR = "AZimyBHSf06Vo2uMDS5PYQ"
ID = UUID("0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00")
NAME = "a/b c%2F?"  # an account can be called so
SAMPLES: dict[str, tuple[Any, str]] = {  # what the method is given, and what is in the query
    "uuid": (ID, str(ID)),
    "date-time": (datetime(2026, 3, 2, 9, 15, tzinfo=UTC), "2026-03-02T09:15:00+00:00"),
    "boolean": (False, "false"),
    "integer": (7, "7"),
    "string": ("a b&c", "a b&c"),
}


@dataclass(frozen=True)
class Case:
    """One operation with one of its answers."""

    method: str
    path: str
    operation: dict[str, Any]
    status: int
    shown: Any

    @property
    def name(self) -> str:
        return str(self.operation["operationId"])

    def parameters(self, place: str) -> list[dict[str, Any]]:
        return [one for one in self.operation.get("parameters", []) if one["in"] == place]

    @property
    def is_list(self) -> bool:
        return "cursor" in {one["name"] for one in self.parameters("query")}


def cases() -> Iterator[Case]:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get("application/json", {})
                if status < "300" or (content and operation["operationId"] == "readyz"):
                    yield Case(method.upper(), path, operation, int(status), content.get("example"))


CASES = {f"{case.name} {case.status}": case for case in cases()}


@pytest.fixture(scope="module")
def server() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def given(case: Case) -> tuple[list[Any], dict[str, Any], dict[str, str]]:
    """Positional and named arguments for the method, and what must be in the query then."""
    inside = [ID if one["schema"].get("format") == "uuid" else NAME for one in case.parameters("path")]
    samples = {one["name"]: sample(one["schema"]) for one in case.parameters("query") if one["name"] != "cursor"}
    body = case.operation.get("requestBody", {}).get("content", {})
    example = next((content["example"] for content in body.values()), {})
    query = {name: text for name, (_, text) in samples.items()}
    return inside, {**{name: value for name, (value, _) in samples.items()}, **example}, query


def sample(schema: dict[str, Any]) -> tuple[Any, str]:
    if "$ref" in schema:
        (value, *_) = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["enum"]
        return value, value
    return SAMPLES[schema.get("format", schema["type"])]


def play(server: Receiver, case: Case) -> Callable[[], list[Received]]:
    """The server answers as the document shows; of a list, with two pages. Gives what has come since."""
    before = len(server.received)
    shown = [case.shown] if not case.is_list else [{**case.shown, "next": CURSOR}, case.shown]
    bodies = [json.dumps(one).encode() if one is not None else b"" for one in shown]
    path = "/hooks" + case.path
    for parameter in case.parameters("path"):
        value = str(ID) if parameter["schema"].get("format") == "uuid" else quote(NAME, safe="")
        path = path.replace("{" + parameter["name"] + "}", value)
    server.script(path, *(Answer(case.status, (("Content-Type", "application/json"),), body) for body in bodies))
    return lambda: server.received[before:]


def plain(value: Any) -> Any:
    """What a method returned, as JSON has it."""
    match value:
        case _ if is_dataclass(value):
            return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case UUID():
            return str(value)
        case _:
            return value


def assert_as_described(case: Case, came: list[Received], query: dict[str, str], returned: Any) -> None:
    """The requests are those of the document, and what was returned is its example."""
    assert plain(returned) == (case.shown["items"] * 2 if case.is_list else case.shown)
    assert [dict(parse_qsl(one.target.partition("?")[2])) for one in came] == (
        [query, {**query, "cursor": CURSOR}] if case.is_list else [query]
    )
    for one in came:
        assert one.method == case.method
        assert_body(case, one)
        ways = [name for way in case.operation.get("security", []) for name in way]
        shown = (one.header("Authorization") or "").partition(" ")[0]
        assert shown == ("Bearer" if "Bearer" in ways else "")
        assert (one.header("User-Agent") or "").startswith("dispatcher-client/")


def assert_body(case: Case, request: Received) -> None:
    content = case.operation.get("requestBody", {}).get("content", {})
    if not content:
        assert (request.body, request.header("Content-Type")) == (b"", None)
        return
    ((media_type, described),) = content.items()
    assert request.header("Content-Type") == media_type
    form = media_type != "application/json"
    body = dict(parse_qsl(request.body.decode())) if form else request.json()
    assert body == described["example"]
    jsonschema_rs.validate({**described["schema"], "components": DOCUMENT["components"]}, body)


@pytest.fixture(scope="module")
def client(server: Receiver) -> Iterator[Client]:
    with Client(server.url("/hooks"), KEY) as made:
        yield made


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_operation_is_a_method(case: Case, server: Receiver, client: Client) -> None:
    inside, named, query = given(case)
    came = play(server, case)
    returned = getattr(client, case.name)(*inside, **named)
    shown = list(returned) if case.is_list else returned
    assert_as_described(case, came(), query, shown)


def test_each_operation_is_a_method_from_asyncio(server: Receiver) -> None:
    async def call_all() -> None:
        async with AsyncClient(server.url("/hooks"), KEY) as client:
            for case in CASES.values():
                inside, named, query = given(case)
                came = play(server, case)
                returned = getattr(client, case.name)(*inside, **named)
                shown = [item async for item in returned] if case.is_list else await returned
                assert_as_described(case, came(), query, shown)

    asyncio.run(call_all())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_has_no_other_methods(kind: type) -> None:
    public = {name for name in dir(kind) if not name.startswith("_")}
    assert public == {case.name for case in CASES.values()} | {"close"}


def test_what_is_left_out_is_not_sent(server: Receiver, client: Client) -> None:
    before = len(server.received)
    server.script("/hooks/v1/events", Answer(body=b'{"items": [], "next": null}'))
    assert list(client.list_events()) == []
    assert [one.target for one in server.received[before:]] == ["/hooks/v1/events"]


def test_a_key_in_the_form_is_not_shown_twice(server: Receiver, client: Client) -> None:
    before = len(server.received)
    shown = {"access_token": "at.planted", "expires_in": 1, "scope": "read", "token_type": "bearer"}
    server.script("/hooks/oauth2/token", Answer(body=json.dumps(shown).encode()))
    client.create_token(grant_type="client_credentials", client_id="i", client_secret="s")
    client.create_token(grant_type="client_credentials")
    in_form, in_head = server.received[before:]
    assert in_form.header("Authorization") is None
    assert (in_head.header("Authorization") or "").startswith("Basic ")
    assert in_head.body == urlencode({"grant_type": "client_credentials"}).encode()


@pytest.mark.parametrize("status", [401, 404, 409, 422, 503])
def test_a_problem_of_the_document_is_raised(server: Receiver, client: Client, status: int) -> None:
    operation = DOCUMENT["paths"]["/v1/webhooks/{webhook_id}"]["patch"]
    answer = operation["responses"][str(status)]["content"]["application/problem+json"]
    assert answer["schema"] == PROBLEM
    head = (("Content-Type", "application/problem+json"), ("X-Request-Id", "r"), ("Retry-After", "61"))
    server.script(f"/hooks/v1/webhooks/{ID}", Answer(status, head, json.dumps(answer["example"]).encode()))
    with pytest.raises(Problem) as raised:
        client.update_webhook(ID, name=None)
    problem, example = raised.value, answer["example"]
    assert (problem.status, problem.title, problem.detail) == (status, example["title"], example["detail"])
    assert problem.errors == {one["field"]: one["reason"] for one in example.get("errors", [])}
    assert (problem.request_id, problem.retry_after) == ("r", 61)
    assert str(problem) == f"{status} {example['title']}: {example['detail']}"
