"""Checks the signatures of a callback, by Standard Webhooks."""

import base64
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from dispatcher.errors import InvalidKey, NotSigned, UnreadableBody, WrongSignature, WrongTime
from dispatcher.verify.keys import check_of

TOLERANCE = 5 * 60  # seconds, both ways: a callback may have been recorded, to be sent once more
_MOST_SIGNATURES = 20  # the engine makes ten at most; a stranger's header may have thousands, each of which costs


class Headers(Protocol):
    """The headers of a request, as frameworks have them: a dictionary is one, too."""

    def items(self) -> Iterable[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class Callback:
    """A genuine callback.

    id        `webhook-id`: the event's id, the same in each attempt and at each webhook; of a batch, the request's
    signed_at when this attempt was signed, in UTC
    messages  what it carries, as JSON was read: several in a batch, one otherwise
    body      the bytes as they came
    headers   all headers, by their names in lower case. Nothing but `webhook-id` and `webhook-timestamp` is signed
    """

    id: str
    signed_at: datetime
    messages: Sequence[Any] = field(repr=False)
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)

    @property
    def event_type(self) -> str | None:
        """`Dispatcher-Event-Type`; None in a batch. It is not signed: TLS alone protects it on its way."""
        return self.headers.get("dispatcher-event-type")


class Verifier:
    """Checks with one key (`whsec_`, or of an ed25519 key the public part `whpk_`) or several: while a key is changed,
    or if several webhooks lead here. ed25519 needs the package cryptography."""

    def __init__(self, *keys: str) -> None:
        """Raises InvalidKey for anything that is not a key, without repeating it, and if there is none."""
        if not keys:
            raise InvalidKey("is missing: without one, nothing can be verified")
        self._checks = [check_of(key) for key in keys]

    def verify(self, headers: Headers, body: bytes, *, now: float | None = None) -> Callback:
        """The callback, if it was signed with one of the keys, at most five minutes from `now` (Unix seconds, by
        default this machine's clock). `body`: the bytes as they came, before anything parsed them.

        Raises one of VerificationError: NotSigned, WrongSignature, WrongTime, or UnreadableBody for what is signed, but
        no JSON, which includes an empty body (GET).
        """
        found: dict[str, str] = {}
        for name, value in headers.items():
            # As servers do that join the two: such an id or time is not what was signed.
            found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
        message_id, timestamp, signatures = (
            found.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
        )
        if not (message_id and timestamp and signatures):
            raise NotSigned("not signed")
        signed = f"{message_id}.{timestamp}.".encode(errors="replace") + body
        if not any(self._fits(one, signed) for one in signatures.split(" ", _MOST_SIGNATURES)[:_MOST_SIGNATURES]):
            raise WrongSignature("made with another key, or the body was changed")
        # Only digits of ours come here, but a key may have leaked: what has 5,000 of them is no number for Python.
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 10):
            raise WrongTime("made at a time that is none")
        now = time.time() if now is None else now
        if abs(now - int(timestamp)) > TOLERANCE:
            raise WrongTime("made more than five minutes ago, or ahead of this clock")
        at = datetime.fromtimestamp(int(timestamp), UTC)
        return Callback(id=message_id, signed_at=at, messages=_messages(body), body=body, headers=found)

    def _fits(self, signature: str, signed: bytes) -> bool:
        version, _, encoded = signature.partition(",")
        try:
            made = base64.b64decode(encoded, validate=True)
        except ValueError:
            return False
        return any(fits(signed, made) for checked, fits in self._checks if checked == version)


def _messages(body: bytes) -> list[Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableBody("signed, but no JSON that Python can read") from None
    return document if isinstance(document, list) else [document]
