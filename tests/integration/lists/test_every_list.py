"""Each list has pages, or is a dialect's whole list, which is sent as it is made; a new one cannot be forgotten."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import click
import typer
from fastapi import FastAPI
from starlette.routing import Mount

from dispatcher.asgi import app
from dispatcher.cli.app import app as commands
from tests.each import each

# The parameter that asks for the rest, of each answer with items of which an account can have any number.
PAGED = {
    "GET /v1/accounts": "cursor",
    "GET /v1/audit": "cursor",
    "GET /v1/contacts": "cursor",
    "GET /v1/deliveries": "cursor",
    "GET /v1/deliveries/{delivery_id}": "attempts_before",
    "GET /v1/events": "cursor",
    "GET /v1/events/{event_id}": "deliveries_before",
    "GET /v1/keys": "cursor",
    "GET /v1/notices": "cursor",
    "GET /v1/redeliveries": "cursor",
    "GET /v1/webhooks": "cursor",
    "GET /flexengage/v1/{brandId}/webhooks/{id}/events": "startId",
}
# Made by `whole_list`: tests/dialects/test_long_lists.py.
WHOLE = {
    "GET /bulksms/v1/webhooks",
    "GET /everlytic/api/2.0/production/sms/webhooks",
    "GET /flexengage/v1/{brandId}/webhooks",
    "GET /sinch/v1/projects/{project_id}/apps/{app_id}/webhooks",
    "GET /zipwhip/webhook/list",
    "POST /zipwhip/webhook/list",
}
# Members whose number is bounded by a rule for what holds them, or by the request.
BOUNDED = {
    "errors",  # of a problem: web/problems.py, MAX_ERRORS
    "event_types",
    "events",
    "explanation",
    "headers",
    "items",  # of a batch of events: one for each that was sent; all other items are of pages
    "members",
    "nearest_types",
    "points",  # of a series: webhooks/pulses/steps.py, MOST_POINTS
    "quotas",
    "scopes",
    "signing_keys",
    "states",
    "triggers",
    "egress_ranges",
    "rules",
    "validations",
}
ONE = {  # zipwhip answers with a list of one
    f"{method} /zipwhip/webhook/{call}" for method in ("GET", "POST") for call in ("add", "update", "delete")
}
LAST = "GET /flexengage/v1/{brandId}/webhooks/{id}/events/{eventId}"  # its attempts are the last 100


def operations() -> Iterator[tuple[str, Any, Any]]:
    """Each operation of the API and of the dialects, with the document that describes it."""
    mounted = [route for route in app.routes if isinstance(route, Mount) and isinstance(route.app, FastAPI)]
    assert len(mounted) >= 5
    for prefix, document in [("", app.openapi()), *((route.path, route.app.openapi()) for route in mounted)]:
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                yield f"{method.upper()} {prefix}{path}", operation, document


def lists_in(schema: Any, document: Any, name: str = "", seen: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all members of an answer that are arrays; "" for the answer itself."""
    if "$ref" in schema:
        of = schema["$ref"].rpartition("/")[2]
        if of not in seen:
            yield from lists_in(document["components"]["schemas"][of], document, name, (*seen, of))
        return
    if schema.get("type") == "array":
        yield name
        yield from lists_in(schema.get("items", {}), document, name, seen)
    for member, inner in schema.get("properties", {}).items():
        yield from lists_in(inner, document, member, seen)
    for combined in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(combined, ()):
            yield from lists_in(inner, document, name, seen)


@cache
def answers() -> Sequence[tuple[str, set[str], set[str]]]:
    """Each operation with the lists in its good answers and the names of its parameters."""
    all_of_them = []
    for name, operation, document in operations():
        found = set[str]()
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values() if status.startswith("2") else ():
                found |= set(lists_in(content.get("schema", {}), document))
        all_of_them.append((name, found, {parameter["name"] for parameter in operation.get("parameters", ())}))
    return all_of_them


def test_each_answer_with_a_list_is_known_here() -> None:
    unbounded = {
        name for name, lists, _ in answers() if (lists - BOUNDED) or (name.startswith("GET") and "items" in lists)
    }
    assert unbounded == {
        name for name in (*PAGED, *WHOLE, *ONE, LAST) if name != "GET /flexengage/v1/{brandId}/webhooks/{id}/events"
    }


@each("operation", PAGED)
def test_a_paged_one_has_the_parameter_that_leads_on(operation: str) -> None:
    (parameters,) = [parameters for name, _, parameters in answers() if name == operation]
    assert PAGED[operation] in parameters


def command_lists() -> Iterator[tuple[str, click.Command]]:
    def walk(group: Any, words: str) -> Iterator[tuple[str, click.Command]]:
        for name in group.commands:
            command = group.commands[name]
            if hasattr(command, "commands"):
                yield from walk(command, f"{words}{name} ")
            elif name in {"list", "audit-log"} or (words + name) in {"event show", "explain"}:
                yield words + name, command

    yield from walk(typer.main.get_command(commands), "")


def test_each_list_of_the_command_line_has_pages() -> None:
    found = {name: {option for one in command.params for option in one.opts} for name, command in command_lists()}
    assert set(found) == {
        "account list", "audit-log", "contact list", "delivery list", "event list", "event show", "explain", "key list",
        "notice list", "redelivery list", "webhook list",
    }  # fmt: skip
    for name, options in found.items():
        assert {"--before", "--limit"} <= options, name
