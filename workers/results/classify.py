"""What an answer means: the plain rule, and the response rules of one webhook."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import assert_never

from dispatcher.transport.exchange import Failure, FailureKind, Reply
from dispatcher.webhooks.contract import ResponseRule, Verdict

NO_RULES: Mapping[int, ResponseRule] = MappingProxyType({})
_SECONDS = re.compile(r"[0-9]+", re.ASCII)
_LONGEST_WAIT = 999_999_999  # seconds: some 31 years, far above any cap, far below what timedelta can hold


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what a response rule adds to it.

    `retry_after` is what the receiver asked for, counted from now and never negative; None if no rule honours it, or if
    the receiver said nothing that can be parsed.
    """

    verdict: Verdict
    disable_webhook: bool = False
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class NotAttempted:
    """Nothing was sent, and that says nothing about the receiver."""


def classify(
    outcome: Reply | Failure, rules: Mapping[int, ResponseRule] = NO_RULES, *, now: datetime
) -> Judgement | NotAttempted:
    """Judges an outcome, by numbers and types only. Every outcome gets a result.

    Plain rule (BulkSMS's): 101 and 2xx are acknowledged, 4xx is rejected, everything else and every failure is
    temporary, except `NOT_SENT`, which is not an attempt. A response rule for the exact status replaces it. `now`
    (aware) is what a date in `Retry-After` is compared with.
    """
    match outcome:
        case Failure(FailureKind.NOT_SENT):
            return NotAttempted()
        case Failure():
            return Judgement(Verdict.TEMPORARY)
        case Reply(status=status):
            rule = rules.get(status)
            if rule is None:
                return _PLAIN[min(status // 100, 5)]
            retry_after = _retry_after(outcome, now) if rule.honour_retry_after else None
            return Judgement(rule.verdict, rule.disable_webhook, retry_after)
        case _:
            assert_never(outcome)


_PLAIN = {
    1: Judgement(Verdict.ACKNOWLEDGED),
    2: Judgement(Verdict.ACKNOWLEDGED),
    3: Judgement(Verdict.TEMPORARY),
    4: Judgement(Verdict.REJECTED),
    5: Judgement(Verdict.TEMPORARY),
}


def _retry_after(reply: Reply, now: datetime) -> timedelta | None:
    """The value of `Retry-After`: whole seconds or an HTTP date. Of several headers the first counts."""
    text = next((value.strip() for name, value in reply.headers if name.lower() == "retry-after"), "")
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text) if len(text) <= 9 else _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # "-0000": UTC without a known place
            moment = moment.replace(tzinfo=UTC)
        return max(moment - now, timedelta(0))
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
