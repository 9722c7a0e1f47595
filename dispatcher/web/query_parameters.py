"""What a query may contain: each parameter of its route, once. Anything else is refused before any effect."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Annotated

from fastapi import Depends, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from dispatcher.accounts.api_keys import Caller
from dispatcher.events.event import MAX_TEXT
from dispatcher.web.authentication import caller_of_request
from dispatcher.web.problems import MAX_ERRORS, invalid

_COMPARED = 3  # names of which the nearest is sought: it is compared with all that there are


async def known_parameters_only(
    request: Request,
    _: Annotated[Caller, Depends(caller_of_request)],  # without a key, nothing is revealed
) -> None:
    """A dependency of a whole router. Raises Problem 401 without a valid key, 422 naming what is not allowed."""
    given = [name for name, _ in request.query_params.multi_items()]
    route = request.scope["route"]
    if refused := refused_parameters(given, _parameters_of(route), _body_members_of(route)):
        raise invalid(*refused)


def refused_parameters(
    given: Iterable[str], parameters: Collection[str], members: Collection[str]
) -> list[tuple[str, str]]:
    """The names in a query that are not parameters or are repeated, each with the reason; of very many only the first.
    `members` are those of the route's body."""
    refused: dict[str, str] = {}
    seen: set[str] = set()
    for name in given:
        if name in seen:
            refused.setdefault(name, "is given more than once")
        elif name not in parameters and len(refused) < MAX_ERRORS:
            refused[name] = _reason(name[:MAX_TEXT], parameters, members, compare=len(refused) < _COMPARED)
        seen.add(name)
    return [(name[:MAX_TEXT] or "query", reason) for name, reason in refused.items()]


def _reason(name: str, parameters: Collection[str], members: Collection[str], *, compare: bool) -> str:
    if name in members:
        return "is not known in the query: it is a member of the body"
    match get_close_matches(name.lower(), [*parameters, *members], n=1) if compare else []:
        case [nearest] if nearest in parameters:
            return f"is not known: the nearest is `{nearest}`"
        case [nearest]:
            return f"is not known: the nearest is `{nearest}`, a member of the body"
        case _:
            return "is not known"


def _parameters_of(route: APIRoute) -> list[str]:
    return [field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, Query)]


def _body_members_of(route: APIRoute) -> list[str]:
    body = (route.openapi_extra or {}).get("requestBody", {"content": {}})
    return [name for content in body["content"].values() for name in content["schema"].get("properties", {})]
