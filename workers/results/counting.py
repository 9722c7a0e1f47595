"""Counts the results that are recorded: what became of deliveries, and how long their events waited."""

from collections.abc import Iterable, Set
from datetime import timedelta

from workers.metrics.counts import DELIVERED, DISCARDED, ENDED, LOST, Counts
from workers.results.claim_result import ClaimResult
from workers.results.decide import Delivered, Discard, Release, Retry, RetryUnknown, Split

_PLACES = {
    Delivered: DELIVERED,
    Retry: ENDED["retried"],
    Split: ENDED["split"],
    Release: ENDED["released"],
    RetryUnknown: ENDED["released"],
}


def count_results(counts: Counts, results: Iterable[ClaimResult], mine: Set[tuple[str, int]], ahead: timedelta) -> None:
    """`mine`: the attempts that were recorded; `ahead`: the database's clock, of this machine's."""
    cells, seconds_ahead = counts.cells, ahead.total_seconds()
    for result in results:
        claim, decision, exchange = result.claim, result.decision, result.exchange
        if result.attempt not in mine:
            cells[LOST] += 1.0
            continue
        place = DISCARDED[decision.reason] if isinstance(decision, Discard) else _PLACES[type(decision)]
        cells[place] += 1.0
        if exchange is None or (claim.number != 1 and place != DELIVERED):
            continue
        waited = exchange.started_at.timestamp() + seconds_ahead - _made_at(claim.event_id)
        if claim.number == 1:
            counts.first_attempt.observe(waited)
        if place == DELIVERED:
            counts.acknowledged.observe(waited + exchange.duration.total_seconds())


def _made_at(identifier: str) -> float:
    """The time in a UUIDv7, in seconds since 1970."""
    return int(identifier[:8] + identifier[9:13], 16) / 1000
