"""Parameters as Zipwhip's clients send them: in the query or as a form, by GET or POST, encoded or not."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, TypeAlias
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from dispatcher.web.middleware import read_form
from dispatcher.web.problems import Problem

_MOST = 100

Parameters: TypeAlias = Mapping[str, str]


def refused(reason: str) -> Problem:
    """The Problem that refuses a call. Its status is 200: Zipwhip reports errors only in the body."""
    return Problem(HTTPStatus.OK, reason)


def read_parameters(request: Request, body: Annotated[bytes, Depends(read_form)]) -> Parameters:
    """The parameters that have a value. Those of the form take precedence over the query's; of several with one name,
    the last one counts. The body is read as a form, regardless of its content type. Raises Problem for too many."""
    found: dict[str, str] = {}
    for encoded in (request.scope["query_string"], body):
        try:
            found |= parse_qsl(encoded.decode(errors="replace"), max_num_fields=_MOST)
        except ValueError:
            raise refused(f"there are more than {_MOST} parameters") from None
    return found


def required(parameters: Parameters, name: str) -> str:
    """A parameter's value. Raises Problem if it is missing."""
    if name not in parameters:
        raise refused(f"{name} is required")
    return parameters[name]
