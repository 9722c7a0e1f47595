"""Counts the results that are recorded: what became of deliveries, and how long their events waited."""

from bisect import bisect_left
from collections.abc import Sequence, Set
from datetime import timedelta

from workers.claims.claims import Attempt
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


def count_results(counts: Counts, results: Sequence[ClaimResult], mine: Set[Attempt], ahead: timedelta) -> None:
    """`mine`: the attempts that were recorded; `ahead`: the database's clock, of this machine's. For each delivery, so
    the histograms are filled in here: calling them would take as long as all else."""
    cells, seconds_ahead = counts.cells, ahead.total_seconds()
    first, acknowledged = counts.first_attempt, counts.acknowledged
    first_at, acknowledged_at = first.at, acknowledged.at
    first_sum = acknowledged_sum = 0.0
    all_mine = len(mine) == len(results)
    for result in results:
        claim, decision, exchange = result.claim, result.decision, result.exchange
        if not (all_mine or result.attempt in mine):
            cells[LOST] += 1.0
            continue
        place = DISCARDED[decision.reason] if isinstance(decision, Discard) else _PLACES[type(decision)]
        cells[place] += 1.0
        if exchange is None or (claim.number != 1 and place != DELIVERED):
            continue
        waited = exchange.started_at.timestamp() + seconds_ahead - _made_at(claim.event_id)
        if waited < 0.0:  # noqa: PLR1730 - cheaper than a call. A clock was set
            waited = 0.0
        if claim.number == 1:
            cells[first_at + bisect_left(first.buckets, waited)] += 1.0
            first_sum += waited
        if place == DELIVERED:
            waited += exchange.duration.total_seconds()
            cells[acknowledged_at + bisect_left(acknowledged.buckets, waited)] += 1.0
            acknowledged_sum += waited
    first.add(first_sum)
    acknowledged.add(acknowledged_sum)


def _made_at(identifier: str) -> float:
    """The time in a UUIDv7, in seconds since 1970."""
    return int(identifier[:8] + identifier[9:13], 16) / 1000
