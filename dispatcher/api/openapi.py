"""What the OpenAPI document says beyond the routes' own words: groups, servers, scopes, examples."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from dispatcher.api.examples import ANSWERS, BODIES
from dispatcher.web.authentication import WhoMay

DESCRIPTION = """
Self-hosted webhook delivery: events go in here, callbacks come out at the subscribed webhooks.

Each request shows an API key: `Authorization: Bearer <token>`, or HTTP Basic with the token's two parts, its id and its
secret. A key acts for one account, within its scopes. An operator's key has no account and may do everything for each;
where an account must be known, such a key names it in `account`.

Bodies and answers are JSON, times are RFC 3339 in UTC. A body member or a query parameter that is not known is refused.
Every error is an `application/problem+json` document (RFC 9457); `errors` names the fields that were refused, each with
the reason. Every answer has an `X-Request-Id`, and says `Cache-Control: no-store`.

Lists come newest first, in pages: while `next` is not null, give it as `cursor`, with the same filters.
""".strip()

LICENSE = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}

# Whatever origin the document was read from.
SERVERS = [{"url": "/", "description": "This installation."}]

TAGS = [
    {
        "name": "events",
        "description": "Take events in, and look at them. Each goes to all webhooks that take its type.",
    },
    {"name": "webhooks", "description": "The receivers: URL, event types, delivery contract, credentials, health."},
    {"name": "deliveries", "description": "One event owed to one webhook, with every attempt; send again, cancel."},
    {"name": "redeliveries", "description": "Send again all that fits a filter, so many a second."},
    {"name": "notices", "description": "What the contacts of webhooks are told of by mail."},
    {"name": "accounts and keys", "description": "For operators: who owns webhooks and events, and who may call."},
    {"name": "audit", "description": "For operators: who changed what, when and from where."},
    {"name": "installation", "description": "What a customer may know of the installation."},
    {"name": "tokens", "description": "Access tokens for API keys, for clients that speak OAuth2."},
    {"name": "health", "description": "For health checks and load balancers. Needs no key."},
]

_ANSWERED = {
    "200": "What was asked for.",
    "201": "It is made.",
    "202": "It is stored, and will be done.",
    "204": "It is done. There is no body.",
}


def complete(app: FastAPI) -> None:
    """Has the app's document tell each operation's scope and examples as well."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = describe()
            _add_scopes(app, document)
            _add_examples(document)
            _describe_answers(document)
        return describe()

    app.openapi = described  # type: ignore[method-assign]


def _add_scopes(app: FastAPI, document: dict[str, Any]) -> None:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        for scope in (check.scope for check in _checks(route.dependant)):
            for method in context.methods or ():
                operation = document["paths"][context.path_format][method.lower()]
                operation["security"] = [{name: [scope]} for way in operation["security"] for name in way]


def _checks(dependant: Dependant) -> Iterator[WhoMay]:
    if isinstance(dependant.call, WhoMay):
        yield dependant.call
    for needed in dependant.dependencies:
        yield from _checks(needed)


def _add_examples(document: dict[str, Any]) -> None:
    for operation in (operation for operations in document["paths"].values() for operation in operations.values()):
        name = operation["operationId"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            _add(content, BODIES, name)
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                _add(content, ANSWERS, f"{name} {status}", *([name] if status < "3" else []))


def _describe_answers(document: dict[str, Any]) -> None:
    for operation in (operation for operations in document["paths"].values() for operation in operations.values()):
        for status, answer in operation["responses"].items():
            if answer["description"] == "Successful Response":  # the framework's, of all
                answer["description"] = _ANSWERED[status]


def _add(content: dict[str, Any], examples: dict[str, Any], *names: str) -> None:
    for name in names:
        if name in examples:
            content["example"] = examples[name]
            return
