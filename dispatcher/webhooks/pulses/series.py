"""Series: what came of requests, point by point. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from dispatcher.transport.told import told_kind
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.pulses.answer_times import AnswerTimes
from dispatcher.webhooks.pulses.outcomes import OK
from dispatcher.webhooks.pulses.steps import Times, floor

PERCENTS = (50, 95, 99)  # of answers, whose times are shown
MOST_OUTCOMES = 20  # of a series, that are counted one by one: receivers choose them
OTHER = "other"  # the failures of a verdict that are not among these


class Counted(NamedTuple):
    """Requests, and the messages that they carried."""

    requests: int
    messages: int


_NONE = Counted(0, 0)


class Row(NamedTuple):
    """Counts of one outcome, at one time."""

    starts_at: datetime
    outcome: str
    requests: int
    messages: int


class Answers(NamedTuple):
    """How long the answers of one time took, whatever their outcomes."""

    starts_at: datetime
    times: AnswerTimes


_VERDICTS = {OK: Verdict.ACKNOWLEDGED, **{str(verdict): verdict for verdict in Verdict}}


def verdict_of(outcome: str) -> Verdict | None:
    """What the outcome means. None: nothing was decided, because the token was refused."""
    return _VERDICTS.get(outcome.partition(":")[0])


def told_outcome(outcome: str, *, exact: bool) -> str:
    """The outcome as operators (`exact`) or customers see it."""
    verdict, separator, kind = outcome.partition(":")
    return outcome if exact else f"{verdict}{separator}{told_kind(kind)}"


def joined(counted: Sequence[Row], new: Sequence[Row], *, exact: bool) -> Sequence[Row]:
    """All rows of a series. Those that were `counted` are told already, with its most frequent outcomes one by one; the
    new ones have these, and others only as long as there are fewer than MOST_OUTCOMES."""
    known = {row.outcome for row in counted}
    told = [row._replace(outcome=told_outcome(row.outcome, exact=exact)) for row in new]
    if not any(outcome.endswith(f":{OTHER}") for outcome in known):
        more = Counter[str]()
        for row in told:
            if row.outcome not in known:
                more[row.outcome] += row.requests
        known.update(outcome for outcome, _ in more.most_common(max(MOST_OUTCOMES - len(known), 0)))
    return [*counted, *(row if row.outcome in known else row._replace(outcome=_other(row.outcome)) for row in told)]


def _other(outcome: str) -> str:
    verdict, separator, _ = outcome.partition(":")
    return f"{verdict}:{OTHER}" if separator else outcome


@dataclass(frozen=True, slots=True)
class Counts:
    """What came of requests: how many had each outcome, the most frequent one first, and how long answers took."""

    outcomes: Mapping[str, Counted]
    answer_times: AnswerTimes

    @property
    def requests(self) -> int:
        return sum(counted.requests for counted in self.outcomes.values())

    @property
    def messages(self) -> int:
        return sum(counted.messages for counted in self.outcomes.values())

    def with_verdict(self, verdict: Verdict) -> int:
        """How many requests had it."""
        return sum(counted.requests for outcome, counted in self.outcomes.items() if verdict_of(outcome) is verdict)

    @classmethod
    def of(cls, rows: Iterable[Row], answers: Iterable[Answers]) -> Self:
        """The sum of rows."""
        return cls(_by_outcome(row[1:] for row in rows), AnswerTimes.sum(of_one.times for of_one in answers))

    @classmethod
    def sum(cls, parts: Sequence[Self]) -> Self:
        """The sum of counts."""
        counted = ((outcome, *of_part) for part in parts for outcome, of_part in part.outcomes.items())
        return cls(_by_outcome(counted), AnswerTimes.sum(part.answer_times for part in parts))


def _by_outcome(counted: Iterable[tuple[str, int, int]]) -> Mapping[str, Counted]:
    sums: dict[str, Counted] = {}
    for outcome, requests, messages in counted:
        so_far = sums.get(outcome, _NONE)
        sums[outcome] = Counted(so_far.requests + requests, so_far.messages + messages)
    return dict(sorted(sums.items(), key=lambda item: (-item[1].requests, item[0])))


@dataclass(frozen=True, slots=True)
class Point:
    """What came of the requests that were made from a time on, for the series' step."""

    starts_at: datetime
    counts: Counts


@dataclass(frozen=True, slots=True)
class Series:
    """All points of these times, also empty ones. `counted_to`: later requests are not in it yet; None: nothing was
    counted yet."""

    times: Times
    counted_to: datetime | None
    total: Counts
    points: Sequence[Point]

    @classmethod
    def of(cls, times: Times, counted_to: datetime | None, rows: Iterable[Row], answers: Iterable[Answers]) -> Self:
        """Of rows of these times."""
        of_points: dict[datetime, tuple[list[Row], list[Answers]]] = {at: ([], []) for at in times.points}
        for row in rows:
            of_points[floor(row.starts_at, times.step.length)][0].append(row)
        for of_one in answers:
            of_points[floor(of_one.starts_at, times.step.length)][1].append(of_one)
        points = [Point(starts_at, Counts.of(*of_point)) for starts_at, of_point in of_points.items()]
        return cls(times, counted_to, Counts.sum([point.counts for point in points]), points)


class Bar(NamedTuple):
    """How many requests had each verdict in an hour: one bar of a small chart."""

    starts_at: datetime
    acknowledged: int
    rejected: int
    temporary: int


@dataclass(frozen=True, slots=True)
class Failing:
    """A webhook whose requests fail: how many there were, how many of them failed, and with what most often."""

    webhook_id: UUID
    requests: int
    failed: int
    most_often: str


def shown_series(found: Series) -> dict[str, Any]:
    """A series as the API and the command line show it."""
    times = found.times
    return {
        "since": times.since,
        "until": times.until,
        "step": times.step,
        "counted_to": found.counted_to,
        "total": _shown(found.total),
        "points": [{"starts_at": point.starts_at, **_shown(point.counts)} for point in found.points],
    }


def _shown(counts: Counts) -> dict[str, Any]:
    times, answer_times = counts.answer_times, None
    if times.answers:
        ms = {"mean_ms": times.mean_ms, **{f"p{percent}_ms": times.percentile_ms(percent) for percent in PERCENTS}}
        answer_times = {"answers": times.answers, **{name: round(value or 0, 1) for name, value in ms.items()}}
    return {
        "requests": counts.requests,
        "messages": counts.messages,
        "outcomes": {outcome: counted._asdict() for outcome, counted in counts.outcomes.items()},
        "answer_times": answer_times,
    }
