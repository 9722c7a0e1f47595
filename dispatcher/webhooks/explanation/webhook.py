"""Explains a webhook: whether anything is sent to it, why not, and what happens next. Pure."""

from collections.abc import Iterator
from datetime import datetime

from dispatcher.accounts.contact_states import ContactState
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.explanation.situation import (
    Circuit,
    LastNotice,
    TokenSituation,
    WebhookRecord,
    WebhookSituation,
)
from dispatcher.webhooks.explanation.words import Code, Sentence, counted, exact_span, moment, plain, quoted, say, span

TOKEN = "token"  # noqa: S105 - the failure kind


def explain_webhook(record: WebhookRecord, now: datetime) -> list[Sentence]:
    """The sentences, the most important one first."""
    webhook = record.webhook
    said: list[Sentence] = []
    held = held_by(webhook, now)
    if held is not None:
        said.append(held)
    elif record.unreadable is not None:
        text = f"The webhook cannot be read ({quoted(record.unreadable)}): nothing is sent to it until that is mended."
        said.append(say(Code.WEBHOOK_UNREADABLE, text, reason=record.unreadable))
    elif webhook.circuit is not None:
        said.append(circuit_of(webhook.circuit, now) or _failing(webhook.circuit, now))
    elif record.answer is not None and record.answer.verdict == Verdict.REJECTED:
        said.append(_rejecting(record))
    else:
        said.append(say(Code.WEBHOOK_WELL, "The webhook is enabled, and its circuit is closed: what is due is sent."))
    said += [_last_answer(record, now), _open(record, now)]
    if webhook.messages_a_second is not None and webhook.deleted_at is None:
        rate = webhook.messages_a_second
        said.append(say(Code.RATE_LIMIT, f"It gets {rate:g} messages a second at most.", messages_a_second=rate))
    if webhook.deleted_at is None:
        said += [*_token(record.token, now), *_contact(record, now)]
    return [*said, *can_be_sent_to(webhook)]


def held_by(webhook: WebhookSituation, now: datetime) -> Sentence | None:  # noqa: PLR0911 - a table
    """Why nothing is sent to a webhook, whatever its receiver answers; None: nothing of that kind."""
    if webhook.deleted_at is not None:
        text = f"The webhook was deleted at {moment(webhook.deleted_at, now)}: nothing is sent to it any more."
        return say(Code.WEBHOOK_DELETED, text, deleted_at=webhook.deleted_at)
    if webhook.account_deleted_at is not None:
        at = webhook.account_deleted_at
        text = f"The account was deleted at {moment(at, now)}: nothing of it is sent, and its webhooks go."
        return say(Code.ACCOUNT_DELETED, text, deleted_at=at)
    if webhook.account_suspended_at is not None:
        at = webhook.account_suspended_at
        text = f"The account has been suspended since {moment(at, now)}: nothing of it is sent until it is resumed."
        return say(Code.ACCOUNT_SUSPENDED, text, suspended_at=at)
    if not webhook.enabled:
        return _disabled(webhook, now)
    if webhook.quarantined_at is not None:
        why = f" ({quoted(webhook.quarantined_reason)})" if webhook.quarantined_reason else ""
        text = (
            f"The webhook was put aside at {moment(webhook.quarantined_at, now)}, because it cannot be read{why}. "
            "Nothing is sent to it until it is changed or released."
        )
        since, reason = webhook.quarantined_at, webhook.quarantined_reason
        return say(Code.WEBHOOK_QUARANTINED, text, quarantined_at=since, reason=reason)
    if webhook.is_newer:
        text = "A newer version wrote the webhook: nothing is sent to it until that version delivers."
        return say(Code.WEBHOOK_NEWER, text)
    return None


def _disabled(webhook: WebhookSituation, now: datetime) -> Sentence:
    since = f" since {moment(webhook.disabled_at, now)}" if webhook.disabled_at is not None else ""
    by = f", by {plain(webhook.disabled_by)}" if webhook.disabled_by else ""
    why = f" ({quoted(webhook.disabled_reason)})" if webhook.disabled_reason else ""
    text = f"The webhook has been disabled{since}{by}{why}: nothing is sent to it until it is enabled."
    return say(
        Code.WEBHOOK_DISABLED,
        text,
        disabled_at=webhook.disabled_at,
        disabled_by=webhook.disabled_by,
        reason=webhook.disabled_reason,
    )


def circuit_of(circuit: Circuit, now: datetime) -> Sentence | None:
    """What an open circuit does; None for a closed one."""
    if circuit.opened_at is None:
        return None
    if circuit.trial_at is not None and circuit.trial_at > now:
        trial = f"The next trial request is due at {moment(circuit.trial_at, now)}"
    else:
        trial = "The next trial request is due now"
    text = (
        f"The webhook's circuit has been open since {moment(circuit.opened_at, now)}: "
        f"{counted(circuit.failures, 'requests')} in a row failed. {trial}; an answer to it closes the circuit, and "
        "all that waits is sent."
    )
    return say(
        Code.CIRCUIT_OPEN,
        text,
        opened_at=circuit.opened_at,
        next_trial_at=circuit.trial_at,
        failures_in_a_row=circuit.failures,
    )


def _failing(circuit: Circuit, now: datetime) -> Sentence:
    since = circuit.failing_since
    which = f"last {circuit.failures:,} requests" if circuit.failures > 1 else "last request"
    text = f"Its {which} failed, for the first time at {moment(since, now)}. Its circuit is still closed."
    return say(Code.WEBHOOK_FAILING, text, failing_since=since, failures_in_a_row=circuit.failures)


def _rejecting(record: WebhookRecord) -> Sentence:
    text = "Its receiver rejected the last request: what it rejects is discarded."
    if record.ended:
        among = "in the last 24 h" if record.counts_complete else "among its newest deliveries"
        text += f" Discarded {among}: {record.discarded:,} of {record.ended:,} that ended."
    return say(Code.WEBHOOK_REJECTING, text, discarded=record.discarded, ended=record.ended)


def came_back(status: int | None, failure: str | None, detail: str | None) -> str:
    """How a request ended, as a part of a sentence."""
    if status is not None:
        return f"the receiver answered {status}"
    why = f" ({plain(detail)})" if detail else ""
    if failure == TOKEN:
        return f"no token could be fetched{why}, so the receiver was not called"
    return f"there was no answer: {plain(failure or 'unknown')}{why}"


def _last_answer(record: WebhookRecord, now: datetime) -> Sentence:
    answer = record.answer
    if answer is None:
        return say(Code.NEVER_CALLED, "No request to it is known.")
    how = came_back(answer.status, answer.failure, answer.failure_detail)
    text = f"To its last request, at {moment(answer.at, now)}, {how}, after {exact_span(answer.duration)}."
    return say(
        Code.LAST_ANSWER,
        text,
        at=answer.at,
        status=answer.status,
        failure=answer.failure,
        failure_detail=answer.failure_detail,
    )


def _open(record: WebhookRecord, now: datetime) -> Sentence:
    if not record.open_count:
        return say(Code.NOTHING_OPEN, "No delivery to it is open.")
    since = f"; the one due longest, since {moment(record.due_since, now)}" if record.due_since is not None else ""
    many = counted(record.open_count, "deliveries", complete=record.open_complete)
    be = "is" if record.open_count == 1 else "are"
    return say(
        Code.DELIVERIES_OPEN,
        f"{many} to it {be} open{since}.",
        count=record.open_count,
        complete=record.open_complete,
        due_since=record.due_since,
    )


def _token(token: TokenSituation | None, now: datetime) -> Iterator[Sentence]:
    if token is not None and not token.is_there:
        text = "It has no token at this moment: the next request to it has one fetched first."
        if token.next_fetch_at > now:
            text = (
                f"No token is there: one is being fetched, or could not be; again in {span(token.next_fetch_at - now)}."
            )
        yield say(Code.NO_TOKEN, text, next_fetch_at=token.next_fetch_at)
    if token is not None and token.after_refusal:
        yield say(Code.TOKEN_REFUSED, "Its receiver refused the token before (401), and has accepted none since.")


def _contact(record: WebhookRecord, now: datetime) -> Iterator[Sentence]:
    match record.contact_state:
        case None:
            yield say(Code.NO_CONTACT, "It has no contact: nobody is told of its errors by mail.")
        case _ if not record.are_mailed:
            yield say(Code.NOTHING_MAILED, "Nothing is mailed to its contact: there is no mail server.")
        case ContactState.UNSUBSCRIBED:
            text = "Its contact has unsubscribed: nobody is told of its errors by mail."
            yield say(Code.CONTACT_UNSUBSCRIBED, text)
        case ContactState.UNCONFIRMED:
            yield _notice(record.notice, now)
            text = "Nobody has confirmed its contact: it gets one mail in 24 hours, without details."
            yield say(Code.CONTACT_UNCONFIRMED, text)
        case _:
            yield _notice(record.notice, now)


def _notice(notice: LastNotice | None, now: datetime) -> Sentence:
    if notice is None or (notice.due_at is None and notice.last_sent_at is None):
        return say(Code.NOTICE_SENT, "No mail was sent to its contact.", last_sent_at=None)
    if notice.due_at is not None:
        text = f"A mail to its contact about {quoted(notice.error)} is due at {moment(notice.due_at, now)}."
        return say(Code.NOTICE_DUE, text, error=notice.error, due_at=notice.due_at)
    assert notice.last_sent_at is not None
    text = f"The last mail to its contact, about {quoted(notice.error)}, was sent at {moment(notice.last_sent_at, now)}"
    if notice.suppressed_count > 0:
        text += f"; the error was seen {counted(notice.suppressed_count, 'times')} since"
    return say(
        Code.NOTICE_SENT,
        f"{text}.",
        error=notice.error,
        last_sent_at=notice.last_sent_at,
        suppressed_count=notice.suppressed_count,
    )


def can_be_sent_to(webhook: WebhookSituation) -> Iterator[Sentence]:
    """What a person can do, so that deliveries are sent to a webhook again."""
    if webhook.deleted_at is not None or webhook.account_deleted_at is not None:
        return
    if webhook.account_suspended_at is not None:
        yield say(Code.CAN_RESUME, "An operator can resume the account.", account=webhook.account)
    elif not webhook.enabled:
        text = "To have sent what waits, enable the webhook."
        yield say(Code.CAN_ENABLE, text, webhook_id=webhook.id)
    elif webhook.quarantined_at is not None:
        text = "Once the cause is mended, the webhook can be released."
        yield say(Code.CAN_RELEASE, text, webhook_id=webhook.id)
    elif webhook.is_circuit_open:
        text = "Once the receiver is well again, enabling the webhook closes the circuit and sends what waits."
        yield say(Code.CAN_TRY_AT_ONCE, text, webhook_id=webhook.id)
