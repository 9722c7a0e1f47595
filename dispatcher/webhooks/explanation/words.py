"""The sentences that explain, each with a code for programs; and how times, spans and foreign text stand in them.
Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from dispatcher.masking.terminal import safe_text
from dispatcher.masking.urls import mask_url

Value: TypeAlias = str | int | float | bool | list[str] | None

MOST_CHARACTERS = 200  # of foreign text
MOST_NAMED = 5  # of names in one sentence

_URL = re.compile(r"[A-Za-z0-9+.-]{0,30}://[^\s<>\"']*")


class Code(StrEnum):
    """What a sentence says. Programs go by it; texts may change."""

    # How a delivery ended, or what it waits for.
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    DISCARDED_REJECTED = "discarded_rejected"
    DISCARDED_EXHAUSTED = "discarded_exhausted"
    DISCARDED_EXPIRED = "discarded_expired"
    DISCARDED_WEBHOOK_DISABLED = "discarded_webhook_disabled"
    DISCARDED_WEBHOOK_DELETED = "discarded_webhook_deleted"
    DISCARDED_RENDER_FAILED = "discarded_render_failed"
    ATTEMPT_UNDER_WAY = "attempt_under_way"
    CLAIM_EXPIRED = "claim_expired"
    RETRY_DUE = "retry_due"
    NOT_DUE_YET = "not_due_yet"
    EVENT_EXPIRED = "event_expired"
    SUSPECT = "suspect"
    BEHIND_CIRCUIT = "behind_circuit"
    PASSES_CIRCUIT = "passes_circuit"
    PACED = "paced"
    IN_TURN = "in_turn"
    WAITS_FOR_ROOM = "waits_for_room"
    NOTHING_DELIVERS = "nothing_delivers"
    HOST_FAULT = "host_fault"
    ENDS_SOON = "ends_soon"
    GIVEN_UP_AT = "given_up_at"
    NEVER_GIVEN_UP = "never_given_up"
    # What is known of its attempts.
    LAST_ATTEMPT = "last_attempt"
    OUTCOME_UNKNOWN = "outcome_unknown"
    RETRY_AFTER_HONOURED = "retry_after_honoured"
    LAST_RETRY = "last_retry"
    SMALLER_BATCH = "smaller_batch"
    # How its webhook is.
    WEBHOOK_DELETED = "webhook_deleted"
    ACCOUNT_DELETED = "account_deleted"
    ACCOUNT_SUSPENDED = "account_suspended"
    WEBHOOK_DISABLED = "webhook_disabled"
    WEBHOOK_QUARANTINED = "webhook_quarantined"
    WEBHOOK_NEWER = "webhook_newer"
    WEBHOOK_UNREADABLE = "webhook_unreadable"
    CIRCUIT_OPEN = "circuit_open"
    WEBHOOK_FAILING = "webhook_failing"
    WEBHOOK_REJECTING = "webhook_rejecting"
    WEBHOOK_WELL = "webhook_well"
    LAST_ANSWER = "last_answer"
    NEVER_CALLED = "never_called"
    DELIVERIES_OPEN = "deliveries_open"
    NOTHING_OPEN = "nothing_open"
    RATE_LIMIT = "rate_limit"
    NO_TOKEN = "no_token"  # noqa: S105
    TOKEN_REFUSED = "token_refused"  # noqa: S105
    NO_CONTACT = "no_contact"
    CONTACT_UNSUBSCRIBED = "contact_unsubscribed"
    CONTACT_UNCONFIRMED = "contact_unconfirmed"
    NOTICE_SENT = "notice_sent"
    NOTICE_DUE = "notice_due"
    NOTHING_MAILED = "nothing_mailed"
    # What became of an event.
    WEBHOOKS_TOOK_IT = "webhooks_took_it"
    NO_WEBHOOK_TOOK_IT = "no_webhook_took_it"
    NO_WEBHOOKS = "no_webhooks"
    SENT_SINCE = "sent_since"
    TAKES_OTHER_TYPES = "takes_other_types"
    TAKES_OTHER_APP = "takes_other_app"
    MADE_LATER = "made_later"
    TAKES_IT_NOW = "takes_it_now"
    MORE_WEBHOOKS = "more_webhooks"
    NEAREST_TYPES = "nearest_types"
    MESSAGE_ERASED = "message_erased"
    # What a person can do.
    CAN_REDELIVER = "can_redeliver"
    CANNOT_REDELIVER = "cannot_redeliver"
    CAN_CANCEL = "can_cancel"
    CAN_SEND_AT_ONCE = "can_send_at_once"
    CAN_ENABLE = "can_enable"
    CAN_TRY_AT_ONCE = "can_try_at_once"
    CAN_RELEASE = "can_release"
    CAN_RESUME = "can_resume"
    CAN_SUBSCRIBE = "can_subscribe"
    CAN_SEND = "can_send"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: what it says, in words, and the values in them. All of it is safe for a terminal."""

    code: Code
    text: str
    parameters: Mapping[str, Value]


def say(code: Code, text: str, **parameters: object) -> Sentence:
    """A sentence of its text, which has no foreign text but by `quoted`."""
    return Sentence(code, text, {name: _value(value) for name, value in parameters.items()})


def _value(value: object) -> Value:
    match value:
        case None | bool() | int() | float():
            return value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case list() | tuple():
            return [plain(str(item)) for item in value]
        case _:
            return plain(str(value))


def plain(text: str) -> str:
    """Foreign text on one line: shortened, URLs in it masked, nothing in it that a terminal obeys."""
    masked = _URL.sub(lambda found: mask_url(found[0]), text)  # the whole text: half a URL hides nothing
    return safe_text(masked if len(masked) <= MOST_CHARACTERS else f"{masked[: MOST_CHARACTERS - 1]}…")


def quoted(text: str) -> str:
    """Foreign text as a part of a sentence."""
    return f"“{plain(text)}”"


def listed(names: Sequence[str]) -> str:
    """Names with commas, of many only the first ones."""
    shown = ", ".join(plain(name) for name in names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else shown


def moment(at: datetime, now: datetime) -> str:
    """A time, absolute and as seen from now."""
    ahead = at - now
    relative = f"in {span(ahead)}" if ahead > timedelta(0) else f"{span(-ahead)} ago"
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ} ({relative})"


_UNITS = ((86_400, "day", "days"), (3_600, "h", "h"), (60, "min", "min"), (1, "s", "s"))


def span(length: timedelta) -> str:
    """A span of time in its two largest units."""
    seconds = int(abs(length.total_seconds()))
    if seconds < 1:
        return "less than 1 s"
    at = next(place for place, (size, *_) in enumerate(_UNITS) if seconds >= size)
    parts = []
    for size, one, many in _UNITS[at : at + 2]:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count:,} {one if count == 1 else many}")
    return " ".join(parts)


def exact_span(length: timedelta) -> str:
    """A span of time as it was measured: below ten seconds in milliseconds."""
    if abs(length) < timedelta(seconds=10):
        return f"{round(length / timedelta(milliseconds=1)):,} ms"
    return span(length)


def counted(count: int, what: str, *, complete: bool = True) -> str:
    """A count of things; `what` in the plural form, which only loses its `s` or `ies`."""
    if count == 1 and complete:
        what = f"{what[:-3]}y" if what.endswith("ies") else what.removesuffix("s")
    return f"{count:,}{'' if complete else ' or more'} {what}"


def later(at: datetime, length: timedelta) -> datetime | None:
    """The time so much later; None beyond what there is."""
    try:
        return at + length
    except OverflowError:
        return None
