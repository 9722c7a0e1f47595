"""What upkeep has not counted yet: the requests of the last two or three minutes, counted where they are.

Requests have no index by webhook, so all of these minutes are read, for all webhooks at once, and kept for 5 s or
longer: it costs the same however many look on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dispatcher.ids import first_id_at
from dispatcher.installation import Installation
from dispatcher.webhooks.pulses.answer_times import AnswerTimes
from dispatcher.webhooks.pulses.outcomes import COUNTED, OF_EACH
from dispatcher.webhooks.pulses.series import Answers, Row
from dispatcher.webhooks.pulses.steps import FINE, floor

WAIT = 0.1  # seconds, for another thread that counts
FRESH, LONGEST = 5.0, 60.0  # seconds
_AT_REST = 60  # times as long as it took to read
FARTHEST = timedelta(minutes=10)  # while upkeep has not come so far, only what it has counted is shown

_FINE = timedelta(minutes=FINE)
_COUNT = text(f"WITH c AS MATERIALIZED ({COUNTED}) {OF_EACH}")


@dataclass(frozen=True, slots=True)
class Counted:
    """Requests with ids from `since` on and before `until`: rows of each webhook and account, and of ALL. None: upkeep
    has not begun."""

    since: datetime | None
    until: datetime | None
    rows: Mapping[UUID, Sequence[Row]] = field(default_factory=dict)
    answers: Mapping[UUID, Sequence[Answers]] = field(default_factory=dict)


def fresh_for(took: float, seconds: float = FRESH, longest: float = LONGEST) -> float:
    """For how many seconds what took so many to read is fresh. The more there is, the more rarely it is read: for a
    sixtieth of the time, in which PostgreSQL may use three processes."""
    return max(seconds, min(_AT_REST * took, longest))


class Recent:
    """What was counted last, for all threads of a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counted: Counted | None = None
        self._fresh_until = 0.0

    def since(self, session: Session, folded_to: datetime | None, now: datetime) -> Counted:
        """Counts of the requests that upkeep has not counted, which has come to `folded_to`. While another thread
        counts for longer than a moment, those of before, or none."""
        none = Counted(folded_to, folded_to)
        if folded_to is None or folded_to < now - FARTHEST:
            return none
        # Whoever waits has a connection that others need.
        if not self._lock.acquire(timeout=WAIT):
            counted = self._counted
            return counted if counted is not None and counted.since == folded_to else none
        try:
            counted = self._counted
            if counted is None or counted.since != folded_to or monotonic() >= self._fresh_until:
                began = monotonic()
                counted = self._counted = _count(session, folded_to, max(folded_to, now))
                self._fresh_until = monotonic() + fresh_for(monotonic() - began)
            return counted
        finally:
            self._lock.release()


def recent_of(installation: Installation) -> Recent:
    """The one of this process."""
    recent: Recent = installation.kept.setdefault(Recent, Recent())
    return recent


def _count(session: Session, since: datetime, until: datetime) -> Counted:
    rows: dict[UUID, list[Row]] = {}
    answers: dict[UUID, list[Answers]] = {}
    begin = since
    while begin < until:
        starts_at = floor(begin, _FINE)
        end = min(starts_at + _FINE, until)
        for found in session.execute(_COUNT, {"first": first_id_at(begin), "end": first_id_at(end)}):
            of_id, outcome, requests, messages, millis, *classes = found
            rows.setdefault(of_id, []).append(Row(starts_at, outcome, requests, messages))
            answers.setdefault(of_id, []).append(Answers(starts_at, AnswerTimes(classes, millis)))
        begin = end
    return Counted(since, until, rows, answers)
