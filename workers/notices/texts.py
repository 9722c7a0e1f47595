"""What a problem notice says: a subject, a plain text and an HTML text, from the facts of one error."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, assert_never
from urllib.parse import urlsplit
from uuid import UUID

from dispatcher.states import Reason, State
from dispatcher.transport.exchange import FailureKind
from dispatcher.transport.told import told_kind
from dispatcher.webhooks.notices import NoticeKind
from workers.notices.excerpts import excerpt, one_line
from workers.notices.templating import environment


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything that a mail reports. What is no longer in the database is None."""

    kind: NoticeKind
    fingerprint: str
    observed_at: datetime
    retry_at: datetime | None
    suppressed: int  # seen and not reported
    reported_before: bool  # an earlier mail reported the same error
    outdated: int  # notices that were held back since the last mail until they were too old
    account: str
    webhook_id: UUID
    webhook_name: str | None
    url_masked: str
    webhook_enabled: bool
    disabled_reason: str | None
    delivery_id: UUID
    delivery_state: str | None  # now
    delivery_reason: str | None
    attempt: int | None
    event_id: UUID | None
    event_type: str | None
    subject: str | None
    failure_detail: str | None
    answer: bytes | None
    answer_cut: bool


@dataclass(frozen=True, slots=True)
class Footer:
    """Who sends a mail to whom, about whose webhooks, and how it can be stopped (None: there is no link)."""

    sender: str
    contact: str
    account: str
    unsubscribe: str | None


@dataclass(frozen=True, slots=True)
class MailText:
    """The parts of a mail; plain text and HTML say the same. `subject` is one line."""

    subject: str
    plain: str
    html: str


def render(problem: Problem, *, footer: Footer, now: datetime) -> MailText:
    """The mail about a problem. A retry that was due before `now` is not announced any more."""
    what = what_happened(problem.fingerprint)
    webhook = name_of(problem.webhook_name, problem.url_masked)
    facts: dict[str, Any] = {
        "problem": problem,
        "webhook": webhook,
        "what": what,
        "advice": what_to_do(problem.fingerprint),
        "ended_because": _ended_because(problem.delivery_reason),
        "excerpt": excerpt(problem.answer, cut=problem.answer_cut),
        "retry_at": problem.retry_at if problem.retry_at and problem.retry_at > now else None,
        "delivered": problem.delivery_state == State.DELIVERED,
        "subject": one_line(problem.subject, 255) if problem.subject else None,
        "detail": one_line(problem.failure_detail, 200) if problem.failure_detail else None,
        "disabled_reason": _disabled_because(problem),
        "account": one_line(problem.account, 255),
    }
    return mail_text(problem.kind, _subject(problem.kind, webhook), facts, footer)


def mail_text(template: str, subject: str, facts: Mapping[str, Any], footer: Footer) -> MailText:
    """A mail by its two templates."""
    shown = {**facts, "footer": replace(footer, account=one_line(footer.account, 60))}
    made = environment()
    plain, html = (made.get_template(f"{template}.{form}.j2").render(shown) for form in ("txt", "html"))
    return MailText(subject, plain, html)


def name_of(webhook_name: str | None, url_masked: str) -> str:
    """What a mail calls a webhook, in one line."""
    return one_line(webhook_name or urlsplit(url_masked).netloc, 60)


def what_happened(fingerprint: str) -> str:
    """One plain sentence about an error."""
    status = _status(fingerprint)
    if status is not None:
        return f"Your server answered with HTTP status {status}{_phrase(status)}."
    try:
        kind = FailureKind(fingerprint)
    except ValueError:
        return "No callback could be completed."
    return _failure(kind)


def what_to_do(fingerprint: str) -> str:
    """One sentence of advice."""
    status = _status(fingerprint)
    if status is None:
        return _ADVICE.get(
            told_kind(fingerprint), "Please check that your server is up and can be reached from the internet."
        )
    if 300 <= status <= 399:
        return "Redirects are not followed: please register the final URL."
    if 400 <= status <= 499:
        return _ADVICE.get(
            fingerprint,
            "Please check your server's log for the reason. "
            "Answer with a 5xx status if the same message should be tried again, and with 2xx once you have it.",
        )
    return "Please check your server's log for the reason, and answer with a 2xx status once you have the message."


_ADVICE = {
    "address_refused": "Please check the DNS records of the host name in the webhook's URL: callbacks go to public "
    "addresses and usual ports only.",
    "tls": "Please check that the certificate is valid for this host name, not expired, and sent with its chain.",
    "token": "Please check the token server, and the client id and secret that the webhook is registered with.",
    "timeout": "Please answer at once, and process the message after you have answered.",
    "http_401": "Please check the credentials that the webhook is registered with.",
    "http_403": "Please check the webhook's credentials, and that no firewall in front of your server stops callbacks.",
    "http_404": "Please check the path of the webhook's URL, and that your application is deployed there.",
    "http_405": "Please check that your server accepts the webhook's HTTP method at this URL.",
    "http_410": "Please check that the webhook's URL is still the right one.",
    "http_413": "Please let your server accept larger request bodies.",
}


def _failure(kind: FailureKind) -> str:  # noqa: PLR0911, PLR0912 - a table
    match kind:
        case FailureKind.CONNECTION_REFUSED:
            return "Your server refused the connection: nothing is listening at this address and port."
        case FailureKind.UNREACHABLE:
            return "Your server could not be reached: there is no route to its address."
        case FailureKind.DNS | FailureKind.ADDRESS_REFUSED:  # one text: see `dispatcher.transport.told`
            return "Your server was not called: its URL leads to no public address that callbacks may go to."
        case FailureKind.CONNECT_TIMEOUT:
            return "Your server did not accept the connection in time."
        case FailureKind.NOT_SENT:  # not an attempt, so no mail reports it
            return "Your server was not called: too many DNS lookups were in progress."
        case FailureKind.TLS:
            return "No secure (TLS) connection could be made: the certificate was not accepted, or there is no TLS."
        case FailureKind.TIMEOUT:
            return "Your server received the request but did not answer completely in time."
        case FailureKind.CONNECTION_RESET:
            return "The connection was lost before your server had answered completely."
        case FailureKind.BROKEN_ANSWER:
            return "Your server's answer was not complete, valid HTTP."
        case FailureKind.HEADERS_TOO_LARGE:
            return "The headers of your server's answer were too large."
        case FailureKind.ANSWER_TOO_LARGE:
            return "Your server's answer did not end: too much came before, between or after its headers and its body."
        case FailureKind.TOKEN:
            return "Your server was not called: no access token could be fetched for it."
        case _:
            assert_never(kind)


def _ended_because(reason: str | None) -> str | None:
    match reason:
        case Reason.REJECTED:
            return "A 4xx answer means that the message cannot be processed, so it is not tried again."
        case Reason.EXHAUSTED:
            return "Every planned retry failed, so it is not tried again."
        case Reason.EXPIRED:
            return "The message has expired, so it is not tried again."
        case Reason.RENDER_FAILED:
            return "The message could not be turned into a callback for this webhook."
        case _:  # disabled or deleted since, or opened again: the mail reports only the error
            return None


def _disabled_because(problem: Problem) -> str:
    # A response rule stores the error itself as the reason, and the mail already says that in words.
    if problem.disabled_reason is None or problem.disabled_reason == problem.fingerprint:
        return "A response rule of this webhook disables it after this answer."
    return one_line(problem.disabled_reason, 200)


def _subject(kind: NoticeKind, webhook: str) -> str:
    match kind:
        case NoticeKind.MESSAGE_RETRYING:
            return f"Message retrying: {webhook}"
        case NoticeKind.MESSAGE_DISCARDED:
            return f"Message discarded: {webhook}"
        case NoticeKind.WEBHOOK_DISABLED:
            return f"Webhook disabled: {webhook}"
        case _:
            assert_never(kind)


def _status(fingerprint: str) -> int | None:
    number = fingerprint.removeprefix("http_")
    return int(number) if number != fingerprint and number.isdecimal() else None


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""
