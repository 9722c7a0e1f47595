"""The parts of the OpenAPI document that the routes do not declare: groups, servers, scopes, examples."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from dispatcher.api.examples import ANSWERS, BODIES
from dispatcher.api.schemas import gather, leave_null_out, operations_of
from dispatcher.web.authentication import WhoMay

DESCRIPTION = """
Self-hosted webhook delivery: send events here, and the subscribed webhooks get them as callbacks.

Each request carries an API key: `Authorization: Bearer <token>`, or HTTP Basic with the token's two parts, its id and
its secret. A key acts for one account, within its scopes. An operator's key has no account: with the scope `operator`
it may do everything for every account, with `observe` it may look at everything but secrets. If a request needs an
account, such a key names it in `account`.

Bodies and answers are JSON. Times are RFC 3339 in UTC. Unknown body members and query parameters are refused. Every
error is an `application/problem+json` document (RFC 9457); `errors` names the fields that were refused, each with the
reason. Every answer has the headers `X-Request-Id`, `Cache-Control: no-store` and `X-Content-Type-Options: nosniff`.

Lists are newest first, in pages: while `next` is not null, pass it as `cursor`, with the same filters.
""".strip()

LICENSE = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}

# The origin that the document was read from.
SERVERS = [{"url": "/", "description": "This installation."}]

TAGS = [
    {
        "name": "events",
        "description": "Send events and look at them. Each goes to all webhooks that take its type.",
    },
    {"name": "webhooks", "description": "Receivers: URL, event types, delivery contract, credentials, health."},
    {"name": "deliveries", "description": "One event for one webhook, with every attempt; redeliver, cancel."},
    {
        "name": "redeliveries",
        "description": "Redeliver all that matches a filter, or that a webhook did not get; paced.",
    },
    {"name": "notices", "description": "The mails to contacts of webhooks about problems."},
    {"name": "accounts and keys", "description": "For operators: who owns webhooks and events, and who may call."},
    {"name": "portal", "description": "For platforms: let your users look at the webhooks of their account."},
    {"name": "audit", "description": "For operators: who changed what, when and from where."},
    {"name": "installation", "description": "What customers may need to know about the installation."},
    {"name": "tokens", "description": "Access tokens for API keys, for OAuth2 clients."},
    {"name": "health", "description": "For health checks and load balancers. Needs no key."},
]

_ANSWERED = {
    "200": "Done.",
    "201": "Created.",
    "202": "Stored, to be processed soon.",
    "204": "Done. There is no body.",
}


def complete(app: FastAPI) -> None:
    """Makes the app's document include each operation's scope and examples, and one schema for each thing."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = describe()
            gather(document)
            leave_null_out(document)
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
    for operation in operations_of(document):
        name = operation["operationId"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            _add(content, BODIES, name)
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                _add(content, ANSWERS, f"{name} {status}", *([name] if status < "3" else []))


def _describe_answers(document: dict[str, Any]) -> None:
    for operation in operations_of(document):
        for status, answer in operation["responses"].items():
            if answer["description"] == "Successful Response":  # the framework's default
                answer["description"] = _ANSWERED[status]


def _add(content: dict[str, Any], examples: dict[str, Any], *names: str) -> None:
    for name in names:
        if name in examples:
            content["example"] = examples[name]
            return
