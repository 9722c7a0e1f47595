"""Requests and answers as texts, as they went over the line. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from shlex import quote
from uuid import UUID

from dispatcher.deliveries.records import AttemptRecord, EventLine
from dispatcher.webhooks.bodies import body_of
from dispatcher.webhooks.contract import DeliveryContract, Method

_MOST_BODY = 8_000  # characters of one body


class NoBody(StrEnum):
    """Why the body of a request is not shown: it is not kept, but made again from the message."""

    BATCH = "batch"  # it had other messages, too
    CHANGED = "changed"  # the webhook has changed since
    GONE = "gone"  # the message was erased, or is not kept any more
    IN_URL = "in_url"  # there is none: the message is in the address
    LONG = "long"


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: an event (None: it is no longer kept), its message as it may be shown (None: erased), and the
    webhook that it was for. `contract`: None if it cannot be read."""

    event: EventLine | None
    data: bytes | None
    account: str
    webhook_id: UUID
    webhook_changed_at: datetime
    contract: DeliveryContract | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what came back for it."""

    method: str
    url: str
    headers: Sequence[str]
    body: str | NoBody
    answer: str | None  # None: there was none, or it is no longer kept
    is_cut: bool
    is_unreadable: bool

    @property
    def no_body(self) -> NoBody | None:
        return self.body if isinstance(self.body, NoBody) else None

    @property
    def request(self) -> str:
        """As it went over the line, but for the whole address."""
        body = [] if self.no_body else ["", self.body]
        return "\n".join([f"{self.method} {self.url}", *self.headers, *body])

    @property
    def curl(self) -> str:
        """A command that sends the same once more, once what is masked has been filled in."""
        return " \\\n  ".join(self._curl())

    def _curl(self) -> Iterator[str]:
        yield f"curl -X {self.method} {quote(self.url)}"
        yield from (f"-H {quote(line)}" for line in self.headers)
        if not self.no_body:
            yield f"--data-binary {quote(self.body)}"


@dataclass(frozen=True, slots=True)
class _Message:
    """For `body_of`."""

    event_id: str
    event_type: str
    app: str | None
    occurred_at: datetime
    data: bytes


@dataclass(frozen=True, slots=True)
class _Receiver:
    """For `body_of`."""

    id: str
    account: str
    contract: DeliveryContract


def size_of(attempt: AttemptRecord, message: int) -> int:
    """How many characters of a page the exchanges of an attempt take, about, whose message has so many bytes; 0 if it
    has none."""
    refused = size_of(attempt.refused, message) if attempt.refused is not None else 0
    if attempt.method is None or attempt.url is None:
        return refused
    texts = attempt.url, attempt.headers, attempt.answer_headers, attempt.answer_excerpt
    return refused + sum(len(text) for text in texts if text) + (message if message <= _MOST_BODY else 0)


def exchange_of(attempt: AttemptRecord, sent: Sent) -> Exchange | None:
    """The request of an attempt and its answer; None if it is not known, or no longer kept."""
    if attempt.method is None or attempt.url is None or attempt.request_id is None or attempt.started_at is None:
        return None
    return Exchange(
        method=attempt.method,
        url=attempt.url,
        headers=[line for line in (attempt.headers or "").split("\n") if line],
        body=_body(attempt, sent, attempt.request_id, attempt.started_at),
        answer=_answer(attempt),
        is_cut=bool(attempt.answer_cut),
        is_unreadable=bool(attempt.answer_unreadable),
    )


def phrase_of(status: int) -> str:
    """What a status is called; empty for one without a name."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _body(attempt: AttemptRecord, sent: Sent, request_id: UUID, started_at: datetime) -> str | NoBody:
    if attempt.method == Method.GET:
        return NoBody.IN_URL
    if attempt.of_batch:
        return NoBody.BATCH
    if sent.event is None or sent.data is None:
        return NoBody.GONE
    if sent.contract is None or sent.webhook_changed_at > started_at:
        return NoBody.CHANGED
    event = sent.event
    message = _Message(str(event.id), event.type, event.app, event.occurred_at, sent.data)
    body = body_of([message], _Receiver(str(sent.webhook_id), sent.account, sent.contract), str(request_id))
    return body.decode(errors="replace") if len(body) <= _MOST_BODY else NoBody.LONG


def _answer(attempt: AttemptRecord) -> str | None:
    if attempt.status is None or (attempt.answer_excerpt is None and not attempt.answer_headers):
        return None
    body = (attempt.answer_excerpt or b"").decode(errors="backslashreplace")
    head = f"{attempt.status} {phrase_of(attempt.status)}".rstrip()
    return "\n".join([head, *(attempt.answer_headers or "").split("\n"), "", body]).rstrip("\n")
