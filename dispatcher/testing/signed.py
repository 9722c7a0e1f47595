"""Requests as the engine sends them, for the test of a receiver. A test of ours holds them to what the engine sends."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit
from uuid import UUID

from dispatcher.events.event import Data, serialise
from dispatcher.events.raw_json import stringified
from dispatcher.ids import new_id, time_of
from dispatcher.signing.keys import SigningKey, check_signing_key
from dispatcher.signing.schemes import BodySignature, NonceSignature
from dispatcher.signing.signer import Signer
from dispatcher.version import USER_AGENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a webhook's contract says of its requests: messages in an `array` or alone; with `members`, each message in
    an object of these, name and what it holds (`data` or another word of `dispatcher webhook create --member`)."""

    array: bool = True
    members: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    user_agent: str = USER_AGENT
    body_signature: BodySignature | None = None
    nonce_signature: NonceSignature | None = None


NATIVE = Shape()
BULKSMS = Shape(user_agent="BulkSMS Invoker")
ZIPWHIP = Shape(
    array=False, content_type="application/json; charset=UTF-8", user_agent="Jakarta Commons-HttpClient/3.1"
)
EVERLYTIC = Shape(array=False)
FLEXENGAGE = Shape(
    array=False,
    members=(
        ("id", "event_id"),
        ("brandId", "account"),
        ("webhookId", "webhook_id"),
        ("attemptId", "attempt_id"),
        ("created", "created_at"),
        ("type", "event_type"),
        ("data", "data"),
    ),
    user_agent="FlexEngage Webhook",
)
SINCH = Shape(array=False, nonce_signature=NonceSignature(header="x-sinch-webhook-signature"))


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A POST: its headers in order, and its body byte for byte."""

    headers: Mapping[str, str]
    body: bytes

    def send(self, url: str, *, timeout: float = 10.0) -> int:
        """Sends it to an http or https URL; returns the status of the answer. Raises OSError or HTTPException if there
        is none within `timeout` seconds."""
        split = urlsplit(url)
        kind = HTTPSConnection if split.scheme == "https" else HTTPConnection
        connection = kind(split.netloc, timeout=timeout)
        try:
            connection.request(
                "POST", split._replace(scheme="", netloc="").geturl() or "/", self.body, dict(self.headers)
            )
            return connection.getresponse().status
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class _Secrets:
    signing_keys: Sequence[SigningKey]
    body_secret: str | None
    nonce_secret: str | None


def signed_request(
    *messages: Data,
    key: str | Sequence[str] = (),
    type: str = "message.inbound.received",  # noqa: A002 - the field's name
    shape: Shape = NATIVE,
    at: datetime | None = None,
    event_id: UUID | None = None,
    attempt: int = 1,
    account: str = "acme",
    app: str | None = None,
    webhook_id: UUID | None = None,
    body_secret: str | None = None,
    nonce_secret: str | None = None,
) -> SignedRequest:
    """The request with this message, as the engine sends it: several messages are a batch.

    `key` signs, `whsec_...` or `whsk_...` (this one needs `cryptography`); several sign while a key is changed; none:
    the request is not signed. `at` (aware) is when it is signed, default now. `event_id` is the same in each attempt
    and in what is sent again; default: a new one. The two other secrets are those of the shape's other signatures.
    Without a secret, its signature is left out. Raises InvalidEvent for what is no message, InvalidWebhook for what is
    no key, ValueError without a message, for several if the shape has no array, and for a
    member that holds what there is not.
    """
    if len(messages) != 1 and not (messages and shape.array):
        raise ValueError("give one message; a batch needs a shape with an array")
    moment = at or datetime.now(UTC)
    request_id, first_id = str(new_id()), event_id or new_id()
    event_ids = [first_id, *(new_id() for _ in messages[1:])]
    held = {"event_type": type, "account": account, "app": app, "attempt_id": request_id}
    held |= {"webhook_id": str(webhook_id or new_id()), "occurred_at": _time(moment)}
    bodies = [
        _enveloped(serialise(message), shape, {**held, "event_id": str(each), "created_at": _time(time_of(each))})
        for message, each in zip(messages, event_ids, strict=True)
    ]
    body = b"[" + b",".join(bodies) + b"]" if shape.array else bodies[0]
    if shape.nonce_signature is not None:
        body = stringified(body.decode()).encode()
    headers = {"User-Agent": shape.user_agent, "Content-Type": shape.content_type}
    if len(messages) == 1:
        headers |= {"Dispatcher-Event-Id": str(first_id), "Dispatcher-Event-Type": type}
        headers |= {"Dispatcher-Delivery-Id": str(new_id()), "Dispatcher-Attempt": str(attempt)}
    else:
        headers["Dispatcher-Batch-Size"] = str(len(messages))
    headers["Dispatcher-Request-Id"] = request_id
    keys = [check_signing_key(one) for one in ([key] if isinstance(key, str) else key)]
    signer = Signer(_Secrets(keys, body_secret, nonce_secret), shape)
    message_id = str(first_id) if len(messages) == 1 else request_id
    headers |= signer.headers(message_id, request_id, body, moment.timestamp())
    return SignedRequest(headers, body)


def _enveloped(data: bytes, shape: Shape, held: Mapping[str, str | None]) -> bytes:
    if not shape.members:
        return data
    if unknown := {holds for _, holds in shape.members} - {"data", *held}:
        raise ValueError(f"no member holds {min(unknown)!r}")
    parts = [
        f"{json.dumps(name)}:".encode()
        + (data if holds == "data" else json.dumps(held[holds], ensure_ascii=False).encode())
        for name, holds in shape.members
    ]
    return b"{" + b",".join(parts) + b"}"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
