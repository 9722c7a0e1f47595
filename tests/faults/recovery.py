"""When everything flows again after a fault, measured by what is sent all the time: each way by itself. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from tests.faults.ledgers import Received, Role, Sent, Way

SLOW_CALL = 1.0  # seconds of a call that show that it was held up
QUICK: Mapping[Role, float] = {  # seconds from being accepted to being received, in calm
    Role.STEADY: 2.0,
    Role.RETRIED: 4.0,  # a retry after half a second, and the sweep
    Role.MOODY: 2.0,
}
QUICK_MAIL = 5.0
WAYS = {Role.STEADY: "delivery", Role.RETRIED: "retry", Role.MOODY: "moody receiver"}
MAIL = "mail"


@dataclass(slots=True)
class Arrivals:
    """When each event had arrived at all its receivers, as requests come in."""

    _first: dict[tuple[str, str], float] = field(default_factory=dict)  # (event's number, path) -> when
    _of_event: dict[str, list[float]] = field(default_factory=dict)
    _seen: int = 0

    def add(self, received: Sequence[Received]) -> None:
        """Takes a ledger that has grown."""
        for request in received[self._seen :]:
            for number in request.numbers if request.answered else ():
                if (number, request.path) not in self._first:
                    self._first[number, request.path] = request.at
                    self._of_event.setdefault(number, []).append(request.at)
        self._seen = len(received)

    def at(self, one: Sent) -> float:
        """Infinite: not yet."""
        times = self._of_event.get(one.number, ())
        return max(times) if one.deliveries and len(times) >= one.deliveries else inf


def of_calls(way: Way, sent: Iterable[Sent], *, ended: float, now: float) -> float:
    """Seconds from the end of the fault until calls of this way succeed again at once; infinite: they do not yet."""
    calls = [one for one in sent if one.way is way and (one.accepted >= ended or _is_under_way(one))]
    bad = [_end(one, now) for one in calls if _is_bad(one, now)]
    latest = max(bad, default=ended)
    good = [one.accepted for one in calls if one.event is not None and one.accepted >= latest]
    if not good:
        return inf
    return min(good) - ended if bad else 0.0


def _is_under_way(one: Sent) -> bool:
    return one.event is None and one.accepted == one.asked


def _end(one: Sent, now: float) -> float:
    return now if _is_under_way(one) else one.accepted


def _is_bad(one: Sent, now: float) -> bool:
    if _is_under_way(one):
        return now - one.asked > SLOW_CALL
    return one.event is None or one.accepted - one.asked > SLOW_CALL


def of_events(role: Role, sent: Iterable[Sent], arrivals: Arrivals, *, ended: float, now: float) -> float:
    """Seconds from the end of the fault until all that was late has arrived, and what is sent arrives quickly."""
    waits = [(one.accepted, arrivals.at(one)) for one in sent if one.role is role and one.event is not None]
    return _of_waits(waits, QUICK[role], ended=ended, now=now)


def of_mails(sent_at: Mapping[str, float], arrived_at: Mapping[str, float], *, ended: float, now: float) -> float:
    """The same for mails, by contact."""
    waits = [(at, arrived_at.get(contact, inf)) for contact, at in sent_at.items()]
    return _of_waits(waits, QUICK_MAIL, ended=ended, now=now)


def _of_waits(waits: Sequence[tuple[float, float]], quick: float, *, ended: float, now: float) -> float:
    flows = any(sent >= ended and arrived < inf for sent, arrived in waits)
    late = [arrived for sent, arrived in waits if min(arrived, now) - sent > quick and arrived > ended]
    if not flows:
        return inf
    return max(0.0, max(late, default=ended) - ended)
