"""What one API process counts: its answers by route, how long they took, the events that it took in, and how many of
them were stored together."""

from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from threading import Lock
from typing import NamedTuple

from starlette.types import Scope

from dispatcher.metrics.family import SECONDS, SIZES, Family, Histogram, Kind, Places

UNKNOWN = "unknown"  # no route of ours, whatever the path
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
EVENTS_PATH = "/v1/events"

DURATION = Family(
    "dispatcher_api_request_duration_seconds",
    Kind.HISTOGRAM,
    "How long requests to this API process took.",
    buckets=SECONDS,
)
GROUP_SIZE = Family(
    "dispatcher_event_group_size", Kind.HISTOGRAM, "Events that this API process stored in one group.", buckets=SIZES
)
PLACES = Places((DURATION, GROUP_SIZE))
REFUSALS: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "invalid",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.REQUEST_TIMEOUT: "too_slow",
    HTTPStatus.CONFLICT: "key_reused",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many_requests",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}
OTHER = "other"


class Answered(NamedTuple):
    """Requests that are counted together. `route` is the path as the route has it, without values."""

    route: str
    method: str
    status: int


class RequestCounts:
    """Of one API process. The event loop counts requests; threads count events."""

    def __init__(self) -> None:
        self.cells = memoryview(bytearray(8 * PLACES.size)).cast("d")
        self.answered: Counter[Answered] = Counter()
        self._in_batches: Counter[str] = Counter()  # by the reason of the refusal; "": accepted
        self.refused_at: Counter[str] = Counter()  # by the quota
        self.let_in = 0  # of a rate, uncounted
        self._duration = Histogram(self.cells, PLACES, DURATION)
        self._group_size = Histogram(self.cells, PLACES, GROUP_SIZE)
        self._lock = Lock()

    def ended(self, scope: Scope, status: int | None, seconds: float) -> None:
        """A request was answered, or its connection was lost before."""
        method = scope["method"]
        self.answered[
            Answered(_route(scope), method if method in _METHODS else OTHER, 499 if status is None else status)
        ] += 1
        self._duration.observe(seconds)

    def batch(self, refusals: Iterable[str]) -> None:
        """Events came in one request; for each of them the reason why it was refused, or "" if it was not."""
        with self._lock:
            self._in_batches.update(refusals)

    def at_quota(self, quota: str) -> None:
        """A request was refused, because its account was at this limit."""
        with self._lock:
            self.refused_at[quota] += 1

    def uncounted(self, number: int) -> None:
        """So many were let in without being counted: the broker was away."""
        with self._lock:
            self.let_in += number

    def group(self, size: int) -> None:
        """So many events were stored together."""
        with self._lock:
            self._group_size.observe(size)

    def events(self) -> Counter[str]:
        """How many events were accepted (""), and refused for which reason."""
        with self._lock:
            events = self._in_batches.copy()
        for answered, number in self.answered.copy().items():
            if (answered.route, answered.method) == (EVENTS_PATH, "POST"):
                events["" if answered.status == HTTPStatus.ACCEPTED else refusal_of(answered.status)] += number
        return events


def refusal_of(status: int) -> str:
    """The reason for which an event is refused with this status."""
    return REFUSALS.get(status, OTHER)


def _route(scope: Scope) -> str:
    """The path of the route that took the request, below the prefix that its app is mounted at."""
    route = scope.get("route")
    path: str | None = getattr(route, "path_format", None)
    if path is None:
        return UNKNOWN
    app = scope.get("app")  # the innermost; none took the short way
    return path if app is None else getattr(app.state, "prefix", "") + path
