"""Judges a storm or another fault by the two ledgers, the deliveries in the database and the log of faults. Pure."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate, pairwise
from math import inf
from operator import attrgetter

from dispatcher.transport.exchange import FailureKind
from tests.faults.attempt_rules import (
    after_acknowledgement,
    may_forget,
    off_record,
    out_of_order,
    sent_again,
    too_early,
)
from tests.faults.ledgers import HELD_BACK, INNOCENT, Died, Harm, Received, Role, Row, Sent, Tried, Window

MOST_DEATHS = 7  # of workers by one delivery: 3 where it is known what was being handled
MOMENT = 0.5  # seconds that two clocks of one machine, or a log and what it tells about, can be apart
SECONDS_IN_BUFFERS = 2.0  # a receiver may read what a process sent this long before


class Problem(StrEnum):
    """What can be wrong."""

    LOST = "lost"  # accepted, never received, and it never will be
    DUE = "still due"  # accepted, and not received in all this time
    DOUBLED = "doubled"  # received again without a death that explains it
    LATE = "late"
    OVERTAKEN = "overtaken"  # by later deliveries for its webhook, without a death that explains it
    DISCARDED = "innocent discarded"
    AFTER_END = "sent after an acknowledgement"
    SENT_AGAIN = "sent again within an attempt"
    OFF_RECORD = "not on record"
    OUT_OF_ORDER = "attempts out of order"
    EARLY = "retried early"
    WRONG_ERROR = "wrong error"  # for the backend, not one that the product promises
    OPEN = "not ended"  # received, but the database does not say so
    UNASKED = "unasked"  # received, and nobody sent it
    POISON = "poison"  # did not end as it should
    TROUBLED = "troubled"  # of a webhook at fault: ended, although it must wait
    MAIL = "mail"  # of a receiver that failed, never sent
    MAIL_DOUBLED = "mail doubled"  # about the same error within its 24 hours
    RECOVERY = "recovery"  # later than promised
    RIG = "processes"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds in calm: of an `enqueue`, and from being accepted to being received. `links`: how many faults in a row
    may each delay a delivery, besides one for each attempt without a known outcome."""

    enqueue: float = 15.0
    steady: float = 15.0
    giant: float = 60.0
    crowd: float = 180.0
    links: int = 2

    def of(self, role: Role) -> float:
        return {Role.GIANT: self.giant, Role.CROWD: self.crowd}.get(role, self.steady)


@dataclass(slots=True)
class Verdict:
    """The problems with examples, and figures of what went well."""

    problems: dict[Problem, list[str]] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)  # delivery -> how it ended
    sent: Counter[Role] = field(default_factory=Counter)  # events
    innocent: int = 0  # their deliveries
    received_again: int = 0
    delays: dict[Role, list[float]] = field(default_factory=dict)  # of innocent deliveries, sorted

    @property
    def passed(self) -> bool:
        return not self.problems

    def add(self, problem: Problem, text: str) -> None:
        self.problems.setdefault(problem, []).append(text)


def judge(
    sent: Sequence[Sent],
    received: Sequence[Received],
    rows: Sequence[Row],
    *,
    windows: Sequence[Window],
    harm: Sequence[Harm],
    webhooks: Mapping[str, str],
    bounds: Bounds,
    delays: Mapping[str, Sequence[float]] | None = None,
    between: tuple[float, float] = (-inf, inf),
) -> Verdict:
    """`webhooks`: path -> webhook, for requests with several messages. `delays`: webhook -> its retry schedule, in
    seconds, where that is judged. Only what was sent `between` two moments is judged."""
    judged = [one for one in sent if between[0] <= one.asked < between[1]]
    verdict = Verdict(sent=Counter(one.role for one in judged))
    by_event: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_event[row.event].append(row)
    arrivals = _arrivals(sent, received, rows, webhooks, verdict)
    harmed = Counter(one.delivery for one in harm)
    deaths = Counter(one.delivery for one in harm if one.deadly)
    queues: defaultdict[str, list[_Queued]] = defaultdict(list)  # webhook -> its steady deliveries
    for one in judged:
        if one.error is not None:
            verdict.add(Problem.WRONG_ERROR, f"event {one.number}: {one.error}")
        if (took := one.accepted - one.asked) > bounds.enqueue:
            verdict.add(Problem.LATE, f"event {one.number}: enqueue took {took:.1f} s")
        if one.event is None:
            continue  # no receipt: it may be stored or not
        stored = by_event[one.event]
        if one.deliveries != len(stored):
            verdict.add(Problem.LOST, f"event {one.number}: {one.deliveries} deliveries accepted, {len(stored)} stored")
        for row in stored:
            came = sorted(arrivals.get(row.delivery, ()), key=attrgetter("at"))
            acknowledged = [arrival.at for arrival in came if arrival.answered]
            verdict.endings[row.delivery] = _ending(row, len(acknowledged))
            if one.role in INNOCENT:
                verdict.innocent += 1
                _judge_innocent(one, row, acknowledged, windows, bounds, verdict)
                if one.role is Role.STEADY and came:
                    queues[row.webhook].append(_Queued(one, row, came[0].at))
                _judge_attempts(one, row, came, windows, (delays or {}).get(row.webhook), verdict)
            else:
                _judge_guilty(one, row, harmed[row.delivery], deaths[row.delivery], windows, verdict)
    for queue in queues.values():
        _judge_queue(queue, windows, bounds, verdict)
    for waited in verdict.delays.values():
        waited.sort()
    return verdict


@dataclass(frozen=True, slots=True)
class _Queued:
    sent: Sent
    row: Row
    arrived: float  # for the first time


def _judge_queue(queue: Sequence[_Queued], windows: Sequence[Window], bounds: Bounds, verdict: Verdict) -> None:
    """However long faults last: what waits for a webhook is sent before what was accepted clearly later, unless it was
    tried before, or somebody may have died who had it."""
    queue = sorted(queue, key=attrgetter("sent.accepted"))
    accepted = [one.sent.accepted for one in queue]
    soonest = [*accumulate((one.arrived for one in reversed(queue)), min)][::-1]  # of each and all after it
    deaths = [window for window in windows if window.died is not Died.NOBODY]
    for one in queue:
        after = bisect_left(accepted, one.sent.accepted + bounds.steady)
        if after == len(queue) or len(one.row.tried) > 1 or one.arrived <= soonest[after] + bounds.steady:
            continue
        if not any(death.began <= one.arrived and death.ended >= one.sent.accepted for death in deaths):
            by = f"{one.arrived - soonest[after]:.1f} s after one that was accepted {bounds.steady:g} s later"
            verdict.add(Problem.OVERTAKEN, f"{_name(one.sent, one.row)}: arrived {by}")


def _arrivals(
    sent: Sequence[Sent],
    received: Sequence[Received],
    rows: Sequence[Row],
    webhooks: Mapping[str, str],
    verdict: Verdict,
) -> Mapping[str, list[Received]]:
    """The requests with which each delivery arrived."""
    event_of = {one.number: one.event for one in sent if one.event is not None}
    uncertain = {one.number for one in sent if one.event is None}
    known = {row.delivery for row in rows}
    delivery_of: dict[tuple[str | None, str | None], str] = {(row.event, row.webhook): row.delivery for row in rows}
    arrivals: defaultdict[str, list[Received]] = defaultdict(list)
    for request in received:
        if request.delivery is not None:
            deliveries = [request.delivery if request.delivery in known else None]
        else:
            webhook = webhooks.get(request.path)
            certain = [number for number in request.numbers if number not in uncertain]
            deliveries = [delivery_of.get((event_of.get(number), webhook)) for number in certain]
        for delivery in deliveries:
            if delivery is None:
                verdict.add(Problem.UNASKED, f"{request.path}: delivery {request.delivery}, {request.numbers[:3]}")
            else:
                arrivals[delivery].append(request)
    return arrivals


def _name(one: Sent, row: Row) -> str:
    return f"{one.role} event {one.number}, delivery {row.delivery}"


def _ending(row: Row, acknowledged: int) -> str:
    if row.state in {"discarded", "cancelled"}:
        return f"{row.state} ({row.reason})" if row.reason else row.state
    return f"delivered {acknowledged} times" if row.state == "delivered" else "still due"


def _judge_attempts(
    one: Sent,
    row: Row,
    came: Sequence[Received],
    windows: Sequence[Window],
    delays: Sequence[float] | None,
    verdict: Verdict,
) -> None:
    broken = {
        Problem.SENT_AGAIN: sent_again(came),
        Problem.OFF_RECORD: off_record(row, came, windows) if row.state == "delivered" else (),
        Problem.AFTER_END: after_acknowledgement(row, came),
        Problem.OUT_OF_ORDER: out_of_order(row, came, windows),
        Problem.EARLY: too_early(row, delays) if delays else (),
    }
    for problem, texts in broken.items():
        for text in texts:
            verdict.add(problem, f"{_name(one, row)}: {text}")


def _judge_innocent(
    one: Sent, row: Row, came: Sequence[float], windows: Sequence[Window], bounds: Bounds, verdict: Verdict
) -> None:
    name = _name(one, row)
    if row.state == "discarded":
        verdict.add(Problem.DISCARDED, f"{name}: {row.reason}, received {len(came)} times")
    elif not came:
        problem = Problem.LOST if row.state in {"delivered", "cancelled"} else Problem.DUE
        verdict.add(problem, f"{name}: {row.state}, never received")
    elif row.state != "delivered":
        verdict.add(Problem.OPEN, f"{name}: {row.state}, received {len(came)} times")
    if not came:
        return
    delay = came[0] - one.accepted
    verdict.delays.setdefault(one.role, []).append(delay)
    calm = bounds.of(one.role)
    latest = latest_arrival(one.accepted, row, windows, calm, bounds.links) if delay > calm else came[0]
    if came[0] > latest:
        verdict.add(Problem.LATE, f"{name}: {delay:.1f} s, {came[0] - latest:.1f} s more than its bound")
    verdict.received_again += len(came) - 1
    unexplained = len(list(_unexplained(came, row, windows)))
    if unexplained:
        attempts = ", ".join(_attempt(tried) for tried in row.tried)
        at = ", ".join(f"{time - one.accepted:.1f}" for time in came)
        verdict.add(Problem.DOUBLED, f"{name}: {unexplained} of {len(came)} requests, at {at} s; attempts: {attempts}")


def latest_arrival(accepted: float, row: Row, windows: Sequence[Window], calm: float, links: int) -> float:
    """Until when a delivery may arrive. Each fault that it met may delay it, and while it is delayed it may meet
    another one; but not more than `links` of them, and those that its attempts explain."""
    latest = accepted + calm
    ids = {row.delivery, row.webhook}
    met = [
        window
        for window in windows
        if window.delays and window.ended >= accepted and (window.only is None or ids & window.only)
    ]
    for _ in range(links + row.unknown):
        later = max((window.ended + window.grace for window in met if window.began <= latest), default=latest)
        if later <= latest:
            break
        latest = later
    return latest


def _unexplained(came: Sequence[float], row: Row, windows: Sequence[Window]) -> Iterator[float]:
    """The arrivals after the first that nothing explains. What does: a death between the two whose attempt is on
    record, claims that expired during a halt, a death of the database that forgot the first, a timeout on record if the
    receiver read that request late, or a lost connection on record if a fault of the receiver's cut off its answer."""
    unknown, late = row.unknown, [one for one in row.tried if one.outcome == FailureKind.TIMEOUT]
    cut_off = [one for one in row.tried if one.outcome == FailureKind.CONNECTION_RESET]
    deaths = [window for window in windows if window.died is not Died.NOBODY]
    forgot = [window for window in windows if window.died is Died.DATABASE]
    for before, again in pairwise(came):
        crash = next((one for one in forgot if _is_forgotten(one, before, again)), None)
        timeout = next((one for one in late if _is_read_late(one, before)), None)
        cut = next((one for one in cut_off if _is_cut_off(one, before, row, windows)), None)
        if timeout is not None:
            late.remove(timeout)
        elif cut is not None:
            cut_off.remove(cut)
        elif crash is not None:  # it explains less than an attempt on record does: only what was sent just before it
            forgot.remove(crash)
        elif unknown and any(_is_between(one, before, again) for one in deaths):
            unknown -= 1
        else:
            yield again


def _is_between(death: Window, before: float, again: float) -> bool:
    """Whether it happened between the two requests. Claims may expire at any moment of a halt."""
    latest = death.ended if death.died is Died.CLAIM else death.began
    return death.began <= again and latest >= before - SECONDS_IN_BUFFERS


def _is_forgotten(crash: Window, before: float, again: float) -> bool:
    return may_forget(crash, before) and crash.began <= again


def _is_read_late(timeout: Tried, at: float) -> bool:
    """Whether most of the time to answer had passed when the receiver read the request: the machine stood still."""
    assert timeout.began is not None
    assert timeout.took is not None
    return timeout.began + timeout.took / 2 <= at <= timeout.began + timeout.took + SECONDS_IN_BUFFERS


def _is_cut_off(lost: Tried, at: float, row: Row, windows: Sequence[Window]) -> bool:
    """Whether the receiver got this request, and a fault of its own kept its answer from us."""
    assert lost.began is not None
    assert lost.took is not None
    ended = lost.began + lost.took
    cutting = [window for window in windows if window.only is not None and row.webhook in window.only]
    return lost.began - MOMENT <= at <= ended + MOMENT and any(
        window.began - MOMENT <= ended <= window.ended + MOMENT for window in cutting
    )


def _attempt(one: Tried) -> str:
    return one.outcome if one.took is None else f"{one.outcome} after {one.took:.1f} s"


def _judge_guilty(one: Sent, row: Row, harmed: int, deaths: int, windows: Sequence[Window], verdict: Verdict) -> None:
    name = f"event {one.number}, delivery {row.delivery}"
    if one.role is Role.RAISES and row.state == HELD_BACK:
        return  # its receiver's answers raise, too: nothing needs to have been sent
    if one.role is not Role.TROUBLED and not harmed:
        verdict.add(Problem.POISON, f"{name}: harmed nobody, {row.state} {row.reason or ''}")
    if one.role is Role.KILLS:
        if (row.state, row.reason) != ("discarded", "render_failed"):
            verdict.add(Problem.POISON, f"{name}: {row.state} {row.reason or ''}, after {deaths} deaths")
        # A node or database that is killed forgets the deaths that it had not counted yet.
        killed = sum(window.died in {Died.NODE, Died.DATABASE} and window.began >= one.accepted for window in windows)
        if deaths > MOST_DEATHS + killed:
            verdict.add(Problem.POISON, f"{name}: {deaths} deaths, {MOST_DEATHS} are enough to know")
    elif one.role is Role.RAISES:
        if row.state in {"ready", "claimed", "cancelled"}:
            verdict.add(Problem.POISON, f"{name}: still {row.state}")
    elif row.state in {"discarded", "cancelled"}:
        verdict.add(Problem.TROUBLED, f"{name}: {row.state} {row.reason or ''}")
