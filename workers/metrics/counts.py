"""What one child counts, in memory that outlives it: the child that takes its place goes on counting there.

The loop counts for each delivery, so it must cost next to nothing: places are looked up before, and a number in shared
memory is as cheap to change as one in a list. Only the child's main thread writes.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from dispatcher.metrics.family import Histogram
from dispatcher.states import Reason
from dispatcher.transport.exchange import Exchange, FailureKind, Reply
from dispatcher.transport.failure_texts import KEPT_CLOSED
from workers.metrics import families
from workers.metrics.families import PLACES

_DELIVERIES, _REQUESTS = PLACES.of(families.DELIVERIES), PLACES.of(families.REQUESTS)
ENDED = {outcome: _DELIVERIES[outcome, ""] for outcome in families.OUTCOMES}
DISCARDED = {reason: _DELIVERIES["discarded", reason.value] for reason in Reason}
DELIVERED, LOST = ENDED["delivered"], ENDED["lost"]
_STATUSES = {at: _REQUESTS[status, ""] for at, status in enumerate(families.STATUSES[:5], start=1)}
_OTHER_STATUS = _REQUESTS["other", ""]
_FAILURES = {kind: _REQUESTS["", kind.value] for kind in FailureKind}
_KEPT_CLOSED = _REQUESTS["", families.KEPT_CLOSED]
_NOTICES, _FETCHES, _DEATHS = (
    PLACES.of(family) for family in (families.NOTICES, families.TOKEN_FETCHES, families.DEATHS)
)
(_IN_FLIGHT,), (_QUARANTINED,), (_CLOCK_OFFSET,) = (
    PLACES.of(family).values() for family in (families.IN_FLIGHT, families.QUARANTINED, families.CLOCK_OFFSET)
)


class Counts:
    """Of the child in whose memory they are."""

    def __init__(self, cells: "memoryview[float]") -> None:
        self.cells = cells
        cells[_IN_FLIGHT] = 0.0  # what the child before had is lost with it
        self._request_seconds = Histogram(cells, PLACES, families.REQUEST_SECONDS)
        self.first_attempt = Histogram(cells, PLACES, families.FIRST_ATTEMPT_SECONDS)
        self.acknowledged = Histogram(cells, PLACES, families.ACKNOWLEDGED_SECONDS)
        self._claim_seconds = Histogram(cells, PLACES, families.CLAIM_SECONDS)
        self._claim_size = Histogram(cells, PLACES, families.CLAIM_SIZE)
        self._results_seconds = Histogram(cells, PLACES, families.RESULTS_SECONDS)
        self._results_size = Histogram(cells, PLACES, families.RESULTS_SIZE)

    def request(self, exchange: Exchange) -> None:
        """A request has ended."""
        outcome = exchange.outcome
        if isinstance(outcome, Reply):
            place = _STATUSES.get(outcome.status // 100, _OTHER_STATUS)
        elif outcome == KEPT_CLOSED:
            place = _KEPT_CLOSED
        else:
            place = _FAILURES[outcome.kind]
        self.cells[place] += 1.0
        self._request_seconds.observe(exchange.duration.total_seconds())

    def discarded(self, reasons: Iterable[str]) -> None:
        """Upkeep has ended deliveries for these reasons."""
        for reason in reasons:
            self.cells[_DELIVERIES["discarded", reason]] += 1.0

    def claim(self, size: int, seconds: float) -> None:
        """A claim took so many deliveries."""
        self._claim_size.observe(size)
        self._claim_seconds.observe(seconds)

    def results(self, size: int, seconds: float) -> None:
        """So many results were recorded together."""
        self._results_size.observe(size)
        self._results_seconds.observe(seconds)

    def in_flight(self, requests: int) -> None:
        self.cells[_IN_FLIGHT] = requests

    def clock_offset(self, offset: timedelta) -> None:
        self.cells[_CLOCK_OFFSET] = offset.total_seconds()

    def notices(self, ended: Mapping[str, int]) -> None:
        """Due notices ended in these ways."""
        for ending, number in ended.items():
            self.cells[_NOTICES[ending,]] += number

    def token_fetch(self, *, failed: bool) -> None:
        self.cells[_FETCHES["failed" if failed else "fetched",]] += 1.0

    def quarantined(self, webhooks: int) -> None:
        self.cells[_QUARANTINED] += webhooks

    def death(self, *, stuck: bool) -> None:
        """The child before died at work."""
        self.cells[_DEATHS["stuck" if stuck else "died",]] += 1.0
