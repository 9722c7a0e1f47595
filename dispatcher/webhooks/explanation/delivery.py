"""Explains a delivery: why it is where it is, what happens next and when, what a person can do. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import assert_never

from dispatcher.deliveries.deaths import MOST, SUSPECT
from dispatcher.states import CLOSED, Reason, State
from dispatcher.webhooks.explanation.situation import Before, DeliverySituation, LastAttempt, WebhookSituation
from dispatcher.webhooks.explanation.webhook import TOKEN, came_back, can_be_sent_to, circuit_of, held_by
from dispatcher.webhooks.explanation.words import Code, Sentence, counted, later, moment, plain, say, span

SOON = timedelta(seconds=10)  # what is due for less is on its way
SWEPT = "within 5 s"  # the sweep's interval
_FAULTS = {  # as the heartbeat has them
    "dns": "names cannot be looked up",
    "route": "nobody can be reached",
    "tls": "nobody's certificate is accepted",
}
KEPT_UP = "within two minutes"  # upkeep runs each minute


def explain_delivery(delivery: DeliverySituation, now: datetime) -> list[Sentence]:
    """The sentences, the most important one first."""
    match delivery.state:
        case State.READY:
            said = [*_ready(delivery, now)]
        case State.CLAIMED:
            said = [*_claimed(delivery, now)]
        case State.WAITING:
            said = [*_waiting(delivery, now)]
        case State.DELIVERED:
            said = [_delivered(delivery, now)]
        case State.DISCARDED:
            said = [*_discarded(delivery, now)]
        case State.CANCELLED:
            said = [_cancelled(delivery, now)]
        case _:
            assert_never(delivery.state)
    return [*_nothing_delivers(delivery, now), *said, *_what_can_be_done(delivery)]


def _nothing_delivers(delivery: DeliverySituation, now: datetime) -> Iterator[Sentence]:
    """First of all, where something else would have to be done by now."""
    is_held = held_by(delivery.webhook, now) is not None
    is_late = delivery.state in {State.READY, State.WAITING} and delivery.due_at <= now and not is_held
    if not (is_late or _is_cut_off(delivery, now)):
        return
    if not delivery.is_delivering:
        text = "No process that delivers has shown itself for 30 s: probably nothing is delivered at this moment."
        yield say(Code.NOTHING_DELIVERS, text)
    elif delivery.host_faults:
        faults = [name for name in _FAULTS if name in delivery.host_faults.split()]
        what = " and ".join(_FAULTS[name] for name in faults) or "nobody can be reached"
        text = (
            f"The hosts that deliver have a fault of their own: {what}. Deliveries wait until it is over, and only "
            "trial requests are sent. Their failures count neither as the receiver's nor as attempts."
        )
        yield say(Code.HOST_FAULT, text, faults=faults)


def _is_cut_off(delivery: DeliverySituation, now: datetime) -> bool:
    return delivery.state == State.CLAIMED and (delivery.claimed_until is None or delivery.claimed_until <= now)


def _ready(delivery: DeliverySituation, now: datetime) -> Iterator[Sentence]:
    webhook, held = delivery.webhook, held_by(delivery.webhook, now)
    if held is not None:
        yield held
        yield from _end_of_waiting(delivery, held, now)
    elif delivery.due_at > now:
        yield say(Code.NOT_DUE_YET, f"It is due at {moment(delivery.due_at, now)}.", due_at=delivery.due_at)
    elif _is_over(delivery, now):
        at = delivery.expires_at
        assert at is not None
        text = (
            f"Its event expired at {moment(at, now)}: it is not sent any more, and ends as expired when its turn comes."
        )
        yield say(Code.EVENT_EXPIRED, text, expires_at=at)
    elif delivery.deaths >= SUSPECT:
        text = (
            f"Its handling was cut off {counted(delivery.deaths, 'times')}, so it is attempted apart from others. "
            f"If that goes on, it ends as render_failed, with {MOST} at the latest."
        )
        yield say(Code.SUSPECT, text, deaths=delivery.deaths, ends_at=MOST)
    elif webhook.is_circuit_open and not delivery.bypasses_circuit:
        yield from _behind_circuit(delivery, now)
    else:
        yield from _in_turn(delivery, now)
    yield from _attempts(delivery, now)
    yield from _batch(delivery)


def _behind_circuit(delivery: DeliverySituation, now: datetime) -> Iterator[Sentence]:
    assert delivery.webhook.circuit is not None
    if delivery.before is not None and not delivery.before.count:
        text = "It waits behind its webhook's open circuit, and is the next to be sent as a trial request."
    else:
        text = f"It waits behind its webhook's open circuit{_before(delivery.before)}."
    yield say(Code.BEHIND_CIRCUIT, text, **_count(delivery.before))
    circuit = circuit_of(delivery.webhook.circuit, now)
    assert circuit is not None
    yield circuit
    yield from _end_of_waiting(delivery, circuit, now)


def _in_turn(delivery: DeliverySituation, now: datetime) -> Iterator[Sentence]:
    before, rate = delivery.before, delivery.webhook.messages_a_second
    if delivery.webhook.is_circuit_open:
        text = "A person asked for this attempt: it passes the webhook's open circuit."
        yield say(Code.PASSES_CIRCUIT, text)
    since = f"It has been due since {moment(delivery.due_at, now)}"
    if rate is not None and before is not None:
        wait = timedelta(seconds=(before.count + 1) / rate)
        turn = f"within about {span(wait)}" if before.complete else f"not before {span(wait)} have passed"
        text = f"{since}. Its webhook gets {rate:g} messages a second at most{_before(before)}: its turn comes {turn}."
        yield say(Code.PACED, text, messages_a_second=rate, seconds=wait, due_at=delivery.due_at, **_count(before))
        return
    yield say(Code.IN_TURN, f"{since}{_before(before)}.", due_at=delivery.due_at, **_count(before))
    if now - delivery.due_at > SOON and delivery.is_delivering:
        text = (
            "It waits for room: as many requests as may be are under way to its webhook or its destination, or for its "
            "account. It can also have been taken and put back unsent; that counts as no attempt."
        )
        yield say(Code.WAITS_FOR_ROOM, text)


def _claimed(delivery: DeliverySituation, now: datetime) -> Iterator[Sentence]:
    until, number = delivery.claimed_until, delivery.attempt_count
    if until is not None and not _is_cut_off(delivery, now):
        text = (
            f"Attempt {number} is under way: its result is recorded by {moment(until, now)}, or it counts as cut off."
        )
        yield say(Code.ATTEMPT_UNDER_WAY, text, number=number, claimed_until=until)
    else:
        text = (
            f"Attempt {number} was cut off{_at(until, now)}: whether the receiver got it is not known. "
            f"It is ready again {SWEPT}."
        )
        yield say(Code.CLAIM_EXPIRED, text, number=number, claimed_until=until)
    yield from _attempts(delivery, now)


def _waiting(delivery: DeliverySituation, now: datetime) -> Iterator[Sentence]:
    webhook, step, of = delivery.webhook, delivery.schedule_step, len(delivery.webhook.delays)
    held = held_by(webhook, now)
    if webhook.deleted_at is not None and held is not None:
        yield held
        yield from _end_of_waiting(delivery, held, now)
        yield from _attempts(delivery, now)
        return
    which = f"Retry {step} of {of}" if 0 < step <= of else "The next retry"
    if delivery.due_at > now:
        text = f"{which} is due at {moment(delivery.due_at, now)}, and is sent up to 5 s later."
    else:
        text = f"{which} has been due since {moment(delivery.due_at, now)}, and is ready {SWEPT}."
    yield say(Code.RETRY_DUE, text, retry=step, retries=of, due_at=delivery.due_at)
    yield from _attempts(delivery, now)
    yield from _retry_after(delivery)
    yield from _last_retry(delivery, now)
    yield from _batch(delivery)
    if held is not None:
        yield held
    elif webhook.circuit is not None and (circuit := circuit_of(webhook.circuit, now)) is not None:
        yield circuit


def _retry_after(delivery: DeliverySituation) -> Iterator[Sentence]:
    last, delays, step = delivery.last, delivery.webhook.delays, delivery.schedule_step
    if last is None or not last.asks_for_time or not 0 < step <= len(delays):
        return
    # Both times are of the same transaction.
    if delivery.due_at - last.at > delays[step - 1]:
        text = "That is later than its schedule says: the receiver asked for it (Retry-After)."
        yield say(Code.RETRY_AFTER_HONOURED, text, scheduled_seconds=delays[step - 1])


def _last_retry(delivery: DeliverySituation, now: datetime) -> Iterator[Sentence]:
    left = delivery.webhook.delays[max(delivery.schedule_step, 0) :]
    last = later(delivery.due_at, sum(left, timedelta()))
    if delivery.expires_at is not None and (last is None or delivery.expires_at < last):
        at = delivery.expires_at
        text = f"It is retried until its event expires, at {moment(at, now)}; then it ends as expired."
        yield say(Code.LAST_RETRY, text, last_retry_at=None, expires_at=at)
    elif not left:
        text = "That is the last one: if it fails, the delivery ends as exhausted."
        yield say(Code.LAST_RETRY, text, last_retry_at=delivery.due_at, expires_at=None)
    elif last is not None:
        text = f"If all fail, the last is at about {moment(last, now)}; then it ends as exhausted."
        yield say(Code.LAST_RETRY, text, last_retry_at=last, expires_at=None)


def _delivered(delivery: DeliverySituation, now: datetime) -> Sentence:
    last, at = delivery.last, _at(delivery.finished_at, now)
    if last is None or last.status is None:
        text = f"It was delivered{at}."
    else:
        text = f"It was delivered{at}, with attempt {last.number}: the receiver answered {last.status}."
    number, status = (last.number, last.status) if last is not None else (None, None)
    return say(Code.DELIVERED, text, delivered_at=delivery.finished_at, number=number, status=status)


def _cancelled(delivery: DeliverySituation, now: datetime) -> Sentence:
    if delivery.is_event_erased and delivery.cancelled_by is None:
        how = " because its message was erased"
    else:
        how = f", by {plain(delivery.cancelled_by) if delivery.cancelled_by else 'a person'}"
    text = f"It was cancelled{_at(delivery.finished_at, now)}{how}: nothing more is sent."
    return say(Code.CANCELLED, text, cancelled_at=delivery.finished_at, cancelled_by=delivery.cancelled_by)


def _discarded(delivery: DeliverySituation, now: datetime) -> Iterator[Sentence]:
    reason = delivery.reason
    if reason is None:  # no version writes that
        reason = Reason.EXHAUSTED
    code = Code(f"discarded_{reason}")
    text = f"It was discarded{_at(delivery.finished_at, now)}: {_why(delivery, reason)}."
    yield say(code, text, discarded_at=delivery.finished_at)
    yield from _attempts(delivery, now)


def _why(delivery: DeliverySituation, reason: Reason) -> str:  # noqa: PLR0911 - a table
    match reason:
        case Reason.REJECTED:
            return "the receiver rejected it, which is final"
        case Reason.EXHAUSTED:
            if delivery.schedule_step >= len(delivery.webhook.delays):
                return "every retry of its schedule failed"
            return "the time of its whole schedule passed, behind an open circuit or while nothing could be sent"
        case Reason.EXPIRED:
            return "its event expired before it was delivered"
        case Reason.WEBHOOK_DISABLED:
            return "its webhook was disabled for the time of a whole schedule"
        case Reason.WEBHOOK_DELETED:
            return "its webhook was deleted before it was delivered"
        case Reason.RENDER_FAILED:
            if delivery.deaths >= MOST:
                return f"its handling was cut off {counted(delivery.deaths, 'times')}"
            return "no callback can be made of its message for this webhook"
        case _:
            assert_never(reason)


def _attempts(delivery: DeliverySituation, now: datetime) -> Iterator[Sentence]:
    last = delivery.last
    if last is None:
        return
    if last.outcome_unknown:
        text = (
            f"The outcome of attempt {last.number}, recorded at {moment(last.at, now)}, is unknown, because it was cut "
            "off: the receiver can get the message twice."
        )
        yield say(Code.OUTCOME_UNKNOWN, text, number=last.number, at=last.at)
    elif last.status is not None or last.failure is not None:
        yield _last_attempt(last, now)


def _last_attempt(last: LastAttempt, now: datetime) -> Sentence:
    how = came_back(last.status, last.failure, last.failure_detail)
    batch = ""
    if last.messages is not None and last.messages > 1 and last.failure != TOKEN:
        batch = f" to a request with {last.messages} messages"
    verdict = f", which counts as {plain(last.verdict)}" if last.verdict and last.status is not None else ""
    text = f"At attempt {last.number}, at {moment(last.at, now)}, {how}{batch}{verdict}."
    return say(
        Code.LAST_ATTEMPT,
        text,
        number=last.number,
        at=last.at,
        status=last.status,
        failure=last.failure,
        failure_detail=last.failure_detail,
        verdict=last.verdict,
        messages=last.messages,
    )


def _batch(delivery: DeliverySituation) -> Iterator[Sentence]:
    if delivery.batch_limit is not None:
        most = max(delivery.batch_limit, 1)
        how = "alone" if most == 1 else f"with {most - 1} others at most"
        yield say(Code.SMALLER_BATCH, f"A batch with it failed: it is sent {how}.", batch_limit=most)


def _end_of_waiting(delivery: DeliverySituation, held: Sentence, now: datetime) -> Iterator[Sentence]:
    """What becomes of one that cannot be attempted: what upkeep does."""
    if held.code in {Code.ACCOUNT_SUSPENDED, Code.WEBHOOK_NEWER}:
        text = "Until then it waits, however long that takes."
        yield say(Code.NEVER_GIVEN_UP, text)
        return
    reason = _reason_of_end(delivery, held)
    if held.code in {Code.WEBHOOK_DELETED, Code.ACCOUNT_DELETED} or delivery.give_up_at <= now:
        yield say(Code.ENDS_SOON, f"It ends as {reason} {KEPT_UP}.", reason=reason)
    else:
        at = delivery.give_up_at
        text = f"If that lasts until {moment(at, now)}, it ends as {reason}."
        yield say(Code.GIVEN_UP_AT, text, give_up_at=at, reason=reason)


def _reason_of_end(delivery: DeliverySituation, held: Sentence) -> Reason:
    if held.code in {Code.WEBHOOK_DELETED, Code.ACCOUNT_DELETED}:
        return Reason.WEBHOOK_DELETED
    if delivery.expires_at is not None and delivery.expires_at <= delivery.give_up_at:
        return Reason.EXPIRED
    return Reason.WEBHOOK_DISABLED if held.code == Code.WEBHOOK_DISABLED else Reason.EXHAUSTED


def _is_over(delivery: DeliverySituation, now: datetime) -> bool:
    """Whether its event expired. A redelivery by a person may be given up later than that: then it does not count."""
    expires_at = delivery.expires_at
    return expires_at is not None and delivery.give_up_at <= expires_at <= now


def _before(before: Before | None) -> str:
    if before is None:
        return ""
    if not before.count:
        return ", and no other delivery of the webhook is before it"
    be = "is" if before.count == 1 and before.complete else "are"
    many = counted(before.count, "deliveries", complete=before.complete)
    return f", and {many} of the webhook {be} before it"


def _count(before: Before | None) -> dict[str, object]:
    return {
        "before": before.count if before is not None else None,
        "before_complete": before.complete if before is not None else None,
    }


def _at(at: datetime | None, now: datetime) -> str:
    return f" at {moment(at, now)}" if at is not None else ""


def _what_can_be_done(delivery: DeliverySituation) -> Iterator[Sentence]:
    webhook = delivery.webhook
    if delivery.state in CLOSED:
        yield from _redelivery(delivery, webhook)
        return
    yield from can_be_sent_to(webhook)
    if delivery.state == State.CLAIMED or webhook.deleted_at is not None:
        return
    if _would_be_sent(delivery, webhook):
        text = "To send it at once, cancel it and redeliver it."
        yield say(Code.CAN_SEND_AT_ONCE, text, delivery_id=delivery.id)
    else:
        yield say(Code.CAN_CANCEL, "It can be cancelled.", delivery_id=delivery.id)


def _would_be_sent(delivery: DeliverySituation, webhook: WebhookSituation) -> bool:
    """Whether it waits for a time that a redelivery would not wait for."""
    if not delivery.is_event_kept or webhook.account_suspended_at is not None or not webhook.enabled:
        return False
    if webhook.quarantined_at is not None or webhook.is_newer:
        return False
    return delivery.state == State.WAITING or (webhook.is_circuit_open and not delivery.bypasses_circuit)


def _redelivery(delivery: DeliverySituation, webhook: WebhookSituation) -> Iterator[Sentence]:
    if webhook.deleted_at is not None or webhook.account_deleted_at is not None:
        text = "It cannot be redelivered: there is no webhook any more to send it to."
        yield say(Code.CANNOT_REDELIVER, text, reason="webhook_deleted")
    elif delivery.is_event_erased:
        text = "It cannot be redelivered: its message was erased."
        yield say(Code.CANNOT_REDELIVER, text, reason="message_erased")
    elif not delivery.is_event_kept:
        text = "It cannot be redelivered: its event is no longer kept."
        yield say(Code.CANNOT_REDELIVER, text, reason="event_gone")
    else:
        waits = "" if webhook.enabled else ", and then waits until the webhook is enabled"
        yield say(Code.CAN_REDELIVER, f"It can be redelivered{waits}.", delivery_id=delivery.id)
