"""JSON bodies: read within the limit, then checked by a model; each refusal names its field."""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, ValidationError

from dispatcher.events.event import MAX_TEXT
from dispatcher.events.raw_json import object_members
from dispatcher.masking.refusals import refusal
from dispatcher.web.json_bounds import ValueCount
from dispatcher.web.middleware import MAX_FIELD_VALUES, read_fields
from dispatcher.web.problems import MAX_ERRORS, Problem, invalid


class Body(BaseModel):
    """The body of a request. Unknown members are refused, and errors never contain what was given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
MAX_MEMBERS = 100  # of a body, or of one event of many
SECRET = {"format": "password"}  # of a member that programs must not show, as OpenAPI says it


def body_as(model: type[BaseModel]) -> Any:
    """A dependency: the request's body as this model; no body means an empty object. Raises Problem 400 for anything
    but a JSON object, 422 naming each field that is refused."""

    def read(body: Annotated[bytes, Depends(read_fields)]) -> BaseModel:
        return validated(model, members_of(body or b"{}"))

    return Depends(read)


def described_body(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's description of such a body, for a route's `openapi_extra`. The schemas within it are its `$defs`, until
    the document is put together."""
    schema = schema_of(model)
    return {"requestBody": {"required": "required" in schema, "content": {"application/json": {"schema": schema}}}}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a body. It refers to those within it by where they will be in the document."""
    return model.model_json_schema(ref_template="#/components/schemas/{model}")


def members_of(body: bytes) -> dict[str, str]:
    """The members of a body, each with its value's own text. Raises Problem 400 for anything but a JSON object, or more
    members than any body has."""
    return parsed(body, lambda text: object_members(text, most=MAX_MEMBERS))


def parsed(body: bytes, parse: Callable[[str], T]) -> T:
    """What `parse` makes of a body's text. Raises Problem 400 where that raises ValueError."""
    try:
        return parse(body.decode())
    except UnicodeDecodeError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error.msg} at {error.pos}") from None
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body {error}") from None


def validated(model: type[M], members: Mapping[str, str]) -> M:
    """The model made from these members' texts. Raises Problem 422 naming each field that is refused, 413 for more
    than 1,000 values: all are looked at, wherever they came from."""
    fields = model.model_fields
    known = [name for name in members if name in fields]
    # Of many unknown members the first are enough: each costs a record of why it is refused.
    unknown = islice((name for name in members if name not in fields), MAX_ERRORS) if len(known) < len(members) else ()
    text = "{" + ",".join([f"{json.dumps(name)}:{members[name]}" for name in (*known, *unknown)]) + "}"
    if ValueCount(MAX_FIELD_VALUES).is_over(bytearray(), text.encode()):
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the fields have more than {MAX_FIELD_VALUES} values together"
        )
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        parts = error.errors(include_input=False, include_url=False)[:MAX_ERRORS]
        raise invalid(*(_explain(model, part) for part in parts)) from None


def with_raw_data(model: type[M], members: Mapping[str, str]) -> tuple[M, bytes | None]:
    """The members as this model, which sees a placeholder for the member `data`; and the exact bytes of that member, if
    it is given: no parser may touch a message. Raises as `validated` does."""
    data = members.get("data")
    fields = validated(model, {**members, "data": "null"} if data is not None else members)
    return fields, data.encode() if data is not None else None


def _explain(model: type[BaseModel], part: Mapping[str, Any]) -> tuple[str, str]:
    place = [str(name) for name in part["loc"] if name != "[key]"]
    if place and (field := model.model_fields.get(place[0])) and field.discriminator:
        del place[1:2]  # the kind that it was taken for
    return ".".join(place)[:MAX_TEXT] or "body", refusal(part)
