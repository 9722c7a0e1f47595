"""What series and charts of requests look like on pages. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus

from dispatcher.console.charts import Bar, Dots
from dispatcher.console.words import Words
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.pulses.series import Bar as HourBar
from dispatcher.webhooks.pulses.series import Counts, Series, verdict_of
from dispatcher.webhooks.pulses.steps import Step, Times

KINDS = {Verdict.ACKNOWLEDGED: "ok", Verdict.TEMPORARY: "wait", Verdict.REJECTED: "bad"}
SHOWN_PERCENTS = {50: "half", 95: "most"}


class Span(StrEnum):
    """How far back a page looks."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"

    def times(self, now: datetime) -> Times:
        length, step = _SPANS[self]
        return Times.of(now, now - length + step.length, step=step)


_SPANS = {
    Span.HOUR: (timedelta(hours=1), Step.MINUTES_5),
    Span.DAY: (timedelta(hours=24), Step.MINUTES_15),
    Span.WEEK: (timedelta(days=7), Step.HOUR),
    Span.MONTH: (timedelta(days=30), Step.DAY),
}


def counts_of(counts: Counts) -> dict[str, int]:
    """Requests by kind, as charts stack them."""
    return {kind: counts.with_verdict(verdict) for verdict, kind in KINDS.items()}


def outcome_bars(series: Series, words: Words) -> list[Bar]:
    made = []
    for point in series.points:
        label, is_round = words.tick(point.starts_at, series.times.step.length)
        made.append(Bar(label, counts_of(point.counts), is_round))
    return made


def answer_dots(series: Series, words: Words) -> list[Dots]:
    """Answer times: what half and 95 % of the answers came within, where there were any."""
    made = []
    for point in series.points:
        label, is_round = words.tick(point.starts_at, series.times.step.length)
        times = point.counts.answer_times
        values = {name: times.percentile_ms(percent) for percent, name in SHOWN_PERCENTS.items()}
        made.append(Dots(label, values, is_round))
    return made


def hour_bars(bars: Sequence[HourBar]) -> list[Bar]:
    """For a small chart, which has no labels."""
    return [Bar("", {"ok": bar.acknowledged, "wait": bar.temporary, "bad": bar.rejected}) for bar in bars]


_PHRASES: dict[int | None, str] = {int(status): status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why requests failed: a status, or a kind of failure, and whether they are tried again."""

    status: int | None
    failure: str | None
    requests: int
    retried: bool

    @property
    def phrase(self) -> str:
        """What HTTP calls the status."""
        return _PHRASES.get(self.status, "")


def causes(counts: Counts, most: int = 6) -> list[Cause]:
    """The most frequent ones first."""
    found = []
    for outcome, counted in counts.outcomes.items():
        verdict = verdict_of(outcome)
        if verdict in {Verdict.REJECTED, Verdict.TEMPORARY}:
            found.append(cause_of(outcome, counted.requests))
    return found[:most]


def cause_of(outcome: str, requests: int = 0) -> Cause:
    """Of an outcome as it is counted: `rejected:http_404`, `temporary:timeout`."""
    verdict, _, kind = outcome.partition(":")
    status = kind.removeprefix("http_")
    is_status = kind.startswith("http_") and status.isdecimal()
    return Cause(
        int(status) if is_status else None, None if is_status else kind, requests, verdict == Verdict.TEMPORARY
    )
