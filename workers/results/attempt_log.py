"""One line in the log for what became of the deliveries of a request: logger `dispatcher.attempts`."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import groupby
from typing import assert_never

from dispatcher.logs import GroupLog
from dispatcher.transport.exchange import Reply
from workers.results.claim_result import ClaimResult
from workers.results.decide import Decision, Delivered, Discard, Release, Retry, RetryUnknown, Split

lines = GroupLog("dispatcher.attempts")


def write_lines(group: Iterable[ClaimResult], mine: Set[tuple[str, int]]) -> Counter[str]:
    """Writes the lines of a group that has been recorded; `mine`: the attempts that were. Returns how many of those
    came to which end."""
    tally: Counter[str] = Counter()
    told = []
    for alike in _tellings(group, mine):
        told.append(_line(alike, mine))
        if alike[0].attempt in mine:
            tally[_word(alike[0].decision)] += len(alike)
    lines.write(told)
    return tally


def _line(told: Sequence[ClaimResult], mine: Set[tuple[str, int]]) -> tuple[int, str, dict[str, object]]:
    """One line for the deliveries of one request that came to the same end."""
    claim, decision, exchange = told[0].claim, told[0].decision, told[0].exchange
    if len(told) == 1:
        line: dict[str, object] = {"type": claim.event_type, "attempt": claim.number}
    else:
        line = {"deliveries": len(told)}
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
    if len(told) == 1:
        line |= {"delivery": claim.delivery_id, "event_id": claim.event_id}
    line["webhook"] = claim.webhook_id
    if exchange is not None:
        line["request"] = exchange.request.id
    if told[0].attempt not in mine:
        return logging.WARNING, "claim lost", line | {"would_be": word}
    return _LEVELS[word], word, line


def _tellings(group: Iterable[ClaimResult], mine: Set[tuple[str, int]]) -> Iterator[Sequence[ClaimResult]]:
    """The results that one line tells of: those of a request that ended the same way."""

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
            return "given back"
        case _:
            assert_never(decision)


WORDS = ("delivered", "retried", "discarded")

_LEVELS = {
    "delivered": logging.INFO,
    "retried": logging.INFO,
    "discarded": logging.WARNING,
    "split": logging.WARNING,
    "given back": logging.INFO,
}
