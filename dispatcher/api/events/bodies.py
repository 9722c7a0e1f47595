"""Events in request bodies. Every member is checked except `data`, which is kept as the received bytes."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import AwareDatetime, Field

from dispatcher.accounts.api_keys import Caller
from dispatcher.events.enqueue import BULK
from dispatcher.events.event import MAX_TEXT, Event
from dispatcher.events.raw_json import TooMany, list_in_object, object_members
from dispatcher.events.storing import CheckedEvent, checked
from dispatcher.web.bodies import MAX_MEMBERS, Body, members_of, parsed, schema_of, with_raw_data
from dispatcher.web.ownership import account_named
from dispatcher.web.parameters import EVENT_TYPE
from dispatcher.web.problems import Problem, invalid

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class EventBody(Body):
    """One event."""  # its `data` is not read through this model, but kept as the received bytes

    type: Annotated[
        str,
        Field(
            description="Dotted parts, for instance `message.outbound.sent`.",
            examples=["message.outbound.sent"],
            json_schema_extra=EVENT_TYPE,
        ),
    ]
    data: Annotated[Any, Field(description="The message: any JSON, up to 256 KiB, sent byte for byte as given here.")]
    account: Annotated[
        Text | None, Field(description="The owner of the event. Only for an operator's key, which requires it.")
    ] = None
    app: Annotated[Text | None, Field(description="An optional label below the account.")] = None
    subject: Annotated[Text | None, Field(description="Your own id or number of what the event is about.")] = None
    idempotency_key: Annotated[Text | None, Field(description="The same key with the same content is stored once.")] = (
        None
    )
    occurred_at: Annotated[AwareDatetime | None, Field(description="When it happened. Default: now.")] = None
    expires_at: Annotated[AwareDatetime | None, Field(description="No attempt starts after this time.")] = None


EVENT_SCHEMA = schema_of(EventBody)
EVENTS_SCHEMA: dict[str, Any] = {
    "title": "EventsBody",
    "description": "Many events. Each is stored or refused on its own.",
    "type": "object",
    "required": ["events"],
    "additionalProperties": False,
    "properties": {
        "events": {
            "type": "array",
            "minItems": 1,
            "maxItems": BULK,
            "description": "The events, in order.",
            "items": {"$ref": "#/components/schemas/EventBody"},
        }
    },
    "$defs": {"EventBody": EVENT_SCHEMA},
}


def read_event(caller: Caller, body: bytes, idempotency_key: str | None, traceparent: str | None) -> CheckedEvent:
    """The one event of a body and of what its headers give. Raises Problem 400, 403 or 422, and InvalidEvent."""
    event = _event(caller, members_of(body))
    if idempotency_key is not None:
        event = replace(event, idempotency_key=_one_key(event.idempotency_key, idempotency_key))
    if traceparent is not None:
        event = replace(event, traceparent=traceparent)
    return checked(event, is_json=True)


def read_events(caller: Caller, body: bytes) -> list[Event | Problem]:
    """The events of a body, in order; a Problem in place of each refused one. Raises Problem if the body is refused."""
    try:
        elements = parsed(body, lambda text: list_in_object(text, "events", BULK))
    except TooMany:
        raise _no_list_of_events() from None
    except KeyError as unknown:
        raise invalid((unknown.args[0][:MAX_TEXT], "is not known")) from None
    if not elements:
        raise _no_list_of_events()
    return [_event_or_problem(caller, element) for element in elements]


def _no_list_of_events() -> Problem:
    return invalid(("events", f"must be a list of 1 to {BULK} events"))


def _event_or_problem(caller: Caller, element: str) -> Event | Problem:
    try:
        return _event(caller, object_members(element, most=MAX_MEMBERS))
    except Problem as problem:
        return problem
    except ValueError as error:
        return invalid(("event", str(error)))


def _event(caller: Caller, members: dict[str, str]) -> Event:
    fields, data = with_raw_data(EventBody, members)
    assert data is not None  # it is required
    return Event(
        type=fields.type,
        data=data,
        account=account_named(caller, fields.account),
        app=fields.app,
        subject=fields.subject,
        idempotency_key=fields.idempotency_key,
        occurred_at=fields.occurred_at,
        expires_at=fields.expires_at,
    )


def _one_key(in_body: str | None, in_header: str) -> str:
    if not in_header.isascii() or not in_header.isprintable():
        raise invalid(("Idempotency-Key", "must contain only printable ASCII; use the body's `idempotency_key`"))
    if in_body is not None and in_body != in_header:
        raise invalid(("idempotency_key", "differs from the header Idempotency-Key"))
    return in_header
