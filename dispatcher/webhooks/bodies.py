"""The body of a callback, made of messages by a webhook's contract: to send it, and to show what was sent. Pure."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, assert_never
from uuid import UUID

from dispatcher.events.raw_json import stringified
from dispatcher.ids import time_of
from dispatcher.webhooks.contract import DeliveryContract, Envelope, Member


class Message(Protocol):
    """An event to send."""

    @property
    def event_id(self) -> str: ...
    @property
    def event_type(self) -> str: ...
    @property
    def app(self) -> str | None: ...
    @property
    def occurred_at(self) -> datetime: ...
    @property
    def data(self) -> bytes: ...


class Receiver(Protocol):
    """A webhook to send to; `account` is the name of its account."""

    @property
    def id(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def contract(self) -> DeliveryContract: ...


def body_of(messages: Sequence[Message], receiver: Receiver, request_id: str) -> bytes:
    """The body of a request with these messages; not for GET, which has none. The bytes of each message are unchanged,
    but for a receiver that checks a nonce signature."""
    contract = receiver.contract
    data = b",".join([_enveloped(message, receiver, request_id) for message in messages])
    body = b"[" + data + b"]" if contract.envelope is Envelope.ARRAY else data
    # Receivers in Node check this signature over JSON.stringify of the body after they have parsed it.
    return stringified(body.decode()).encode() if contract.nonce_signature is not None else body


def _enveloped(message: Message, receiver: Receiver, request_id: str) -> bytes:
    """The message as the contract wants it: alone, or as one member among others."""
    if not receiver.contract.members:
        return message.data
    parts = [
        f"{json.dumps(name)}:".encode() + _member(holds, message, receiver, request_id)
        for name, holds in receiver.contract.members
    ]
    return b"{" + b",".join(parts) + b"}"


def _member(holds: Member, message: Message, receiver: Receiver, request_id: str) -> bytes:
    match holds:
        case Member.DATA:
            return message.data
        case Member.EVENT_ID:
            value: str | None = message.event_id
        case Member.EVENT_TYPE:
            value = message.event_type
        case Member.CREATED_AT:
            value = _time(time_of(UUID(message.event_id)))
        case Member.OCCURRED_AT:
            value = _time(message.occurred_at)
        case Member.ACCOUNT:
            value = receiver.account
        case Member.APP:
            value = message.app
        case Member.WEBHOOK_ID:
            value = receiver.id
        case Member.ATTEMPT_ID:
            value = request_id  # the record of an attempt has its request's id
        case _:
            assert_never(holds)
    return json.dumps(value, ensure_ascii=False).encode()


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
