"""One log line for the result of a request's deliveries: logger `dispatcher.attempts`."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import groupby
from typing import assert_never

from dispatcher.logs.group import GroupLog
from dispatcher.transport.exchange import Reply
from workers.claims.claims import Attempt
from workers.results.claim_result import ClaimResult
from workers.results.decide import Decision, Delivered, Discard, Release, Retry, RetryUnknown, Split

lines = GroupLog("dispatcher.attempts")


def write_lines(group: Iterable[ClaimResult], mine: Set[Attempt]) -> Counter[str]:
    """Writes the log lines of a group that has been recorded; `mine`: the attempts that were recorded. Returns how many
    of those ended in which way."""
    tally: Counter[str] = Counter()
    written = []
    for alike in _grouped_by_line(group, mine):
        written.append(_line(alike, mine))
        if alike[0].attempt in mine:
            tally[_word(alike[0].decision)] += len(alike)
    lines.write(written)
    return tally


def _line(alike: Sequence[ClaimResult], mine: Set[Attempt]) -> tuple[int, str, dict[str, object]]:
    """One line for the deliveries of one request that ended the same way."""
    claim, decision, exchange = alike[0].claim, alike[0].decision, alike[0].exchange
    if len(alike) == 1:
        line: dict[str, object] = {"type": claim.event_type, "attempt": claim.number}
    else:
        line = {"deliveries": len(alike)}
    if exchange is not None:
        answer = exchange.outcome
        line |= {"status": answer.status} if isinstance(answer, Reply) else {"failure": str(answer.kind)}
        line["ms"] = round(exchange.duration.total_seconds() * 1000, 1)
    word = _word(decision)
    match decision:
        case Retry(delay):
            line["retry_in_s"] = round(delay.total_seconds(), 1)
        case Discard(reason):
            line["reason"] = str(reason)
        case Split(limit):
            line["batches_of"] = limit
    if len(alike) == 1:
        line |= {"delivery": claim.delivery_id, "event_id": claim.event_id}
        if claim.trace_id is not None:
            line["trace_id"] = claim.trace_id
    line["webhook"] = claim.webhook_id
    if exchange is not None:
        line["request"] = exchange.request.id
    if alike[0].attempt not in mine:
        return logging.WARNING, "claim lost", line | {"would_be": word}
    return _LEVELS[word], word, line


def _grouped_by_line(group: Iterable[ClaimResult], mine: Set[Attempt]) -> Iterator[Sequence[ClaimResult]]:
    """The results that share a line: those of one request that ended the same way."""

    def same(result: ClaimResult) -> object:
        exchange = result.exchange
        one = exchange.request.id if exchange is not None else result.claim.delivery_id
        return one, result.decision, result.attempt in mine

    for _, alike in groupby(group, key=same):
        yield list(alike)


def _word(decision: Decision) -> str:
    match decision:
        case Delivered():
            return "delivered"
        case Retry():
            return "retried"
        case Discard():
            return "discarded"
        case Split():
            return "split"
        case Release() | RetryUnknown():
            return "released"
        case _:
            assert_never(decision)


WORDS = ("delivered", "retried", "discarded")

_LEVELS = {
    "delivered": logging.INFO,
    "retried": logging.INFO,
    "discarded": logging.WARNING,
    "split": logging.WARNING,
    "released": logging.INFO,
}
