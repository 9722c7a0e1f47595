"""`POST /v1/events`: what `enqueue` does, over HTTP."""

import json
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from dispatcher.accounts import Caller, Scope
from dispatcher.api.callers import caller_who_may
from dispatcher.api.problems import Problem, described, invalid
from dispatcher.api.requests import read_body
from dispatcher.enqueue import enqueue
from dispatcher.events import MAX_TEXT
from dispatcher.raw_json import object_members

router = APIRouter(prefix="/v1", tags=["events"])

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class EventBody(BaseModel):
    """The body of a request. All but `data` is read through this; `data` is kept as the bytes that came."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Annotated[str, Field(description="Dotted parts, for instance `message.sent`.", examples=["message.sent"])]
    data: Annotated[Any, Field(description="The message: any JSON, up to 256 KiB, sent byte for byte as given here.")]
    account: Annotated[
        Text | None, Field(description="Only with an operator's key, and then required: whose event it is.")
    ] = None
    app: Annotated[Text | None, Field(description="An optional label below the account.")] = None
    subject: Annotated[Text | None, Field(description="Your own id or number that the event is about.")] = None
    idempotency_key: Annotated[Text | None, Field(description="The same key with the same content is stored once.")] = (
        None
    )
    occurred_at: Annotated[AwareDatetime | None, Field(description="When it happened. Default: now.")] = None
    expires_at: Annotated[AwareDatetime | None, Field(description="No attempt begins after this.")] = None


class AcceptedEvent(BaseModel):
    """The event is stored."""

    event_id: UUID
    deliveries: Annotated[int, Field(description="How many webhooks will get it.")]
    repeated: Annotated[bool, Field(description="Its idempotency key was known; nothing new was stored.")]


@router.post(
    "/events",
    status_code=HTTPStatus.ACCEPTED,
    summary="Take an event in, to be delivered to every webhook that takes it",
    responses=described(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": EventBody.model_json_schema()}}}
    },
)
def post_event(
    caller: Annotated[Caller, Depends(caller_who_may(Scope.SEND))],
    body: Annotated[bytes, Depends(read_body)],
    idempotency_key: Annotated[
        str | None, Header(description="An alternative to the body's `idempotency_key`.")
    ] = None,
) -> AcceptedEvent:
    fields, data = _read(body)
    accepted = enqueue(
        fields.type,
        data,
        account=_account(caller, fields.account),
        app=fields.app,
        subject=fields.subject,
        idempotency_key=_one_key(fields.idempotency_key, idempotency_key),
        occurred_at=fields.occurred_at,
        expires_at=fields.expires_at,
    )
    return AcceptedEvent(event_id=accepted.event_id, deliveries=accepted.deliveries, repeated=accepted.repeated)


def _read(body: bytes) -> tuple[EventBody, bytes]:
    """The fields, and the very bytes of `data`."""
    try:
        members = object_members(body.decode())
    except UnicodeDecodeError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error.msg} at {error.pos}") from None
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body {error}") from None
    data = members.get("data")
    # The model sees a stand-in: large numbers must not pass through a parser on their way.
    rest = members | ({"data": "null"} if data is not None else {})
    try:
        fields = EventBody.model_validate_json(
            "{" + ",".join(f"{json.dumps(name)}:{raw}" for name, raw in rest.items()) + "}"
        )
    except ValidationError as error:
        raise invalid(*(_explain(part["loc"], part["type"], part["msg"]) for part in error.errors())) from None
    assert data is not None
    return fields, data.encode()


def _explain(place: tuple[int | str, ...], kind: str, message: str) -> tuple[str, str]:
    field = str(place[0])[:MAX_TEXT] if place else "body"
    match kind:
        case "missing":
            return field, "is required"
        case "extra_forbidden":
            return field, "is not known"
        case _:
            return field, f"is refused: {message}"


def _account(caller: Caller, named: str | None) -> str:
    if caller.account is None:
        if named is None:
            raise invalid(("account", "is required with an operator's key"))
        return named
    if named not in {None, caller.account}:
        raise Problem(HTTPStatus.FORBIDDEN, "the API key is another account's")
    return caller.account


def _one_key(in_body: str | None, in_header: str | None) -> str | None:
    if in_header is None:
        return in_body
    if not in_header.isascii() or not in_header.isprintable():
        raise invalid(("Idempotency-Key", "must hold printable ASCII only; use the body's `idempotency_key`"))
    if in_body is not None and in_body != in_header:
        raise invalid(("idempotency_key", "differs from the header Idempotency-Key"))
    return in_header
