"""Reads what came of requests: series, small charts of many webhooks, and the webhooks that fail.

What upkeep has counted and how far it has come are read in one statement, so that no request is missed or counted twice
when the rest is added.
"""
# ruff: noqa: S608 - composed of constants

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dispatcher.db.arrays import array
from dispatcher.transport.exchange import FailureKind
from dispatcher.transport.told import told_kind
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.pulses.answer_times import AnswerTimes
from dispatcher.webhooks.pulses.outcomes import TIMES, summed
from dispatcher.webhooks.pulses.recent import Recent
from dispatcher.webhooks.pulses.series import (
    MOST_OUTCOMES,
    OTHER,
    Answers,
    Bar,
    Failing,
    Row,
    Series,
    joined,
    told_outcome,
    verdict_of,
)
from dispatcher.webhooks.pulses.steps import DAY, EPOCH, FINE, HOUR, Step, Times, floor

CHART = timedelta(hours=24)
LOOKED_BACK = timedelta(hours=1)  # for webhooks that fail:
WORST, LEAST, SHARE = 10, 20, 0.1  # so many, with so many requests, of which this share failed
_FAILED = (Verdict.REJECTED, Verdict.TEMPORARY)

_MARKS = f"""marks AS MATERIALIZED (
  SELECT max(reached) FILTER (WHERE name = 'folded') AS folded_to,
    coalesce(date_bin('{HOUR} minutes', max(reached) FILTER (WHERE name = 'checked'), :epoch), :epoch) AS hours,
    coalesce(date_bin('{DAY} minutes', max(reached) FILTER (WHERE name = 'settled'), :epoch), :epoch) AS days
  FROM dispatcher.pulse_marks)"""


def _rows(longest: int) -> str:
    """The rows of `:ids`, as long ones as there are and are wanted. Each kind goes along the primary key by itself."""
    made = {DAY: "(SELECT days FROM marks)", HOUR: "(SELECT hours FROM marks)", FINE: ":until"}
    parts, begins = [], ":since"
    for span in (DAY, HOUR, FINE):
        if span <= longest:
            parts.append(f"""
  SELECT * FROM dispatcher.pulses WHERE span = {span} AND of_id = ANY(CAST(:ids AS uuid[]))
    AND starts_at >= {begins} AND starts_at < least(:until, {made[span]})""")
            begins = f"greatest(:since, {made[span]})"
    return " UNION ALL".join(parts)


_POINT = "date_bin(:step, starts_at, :epoch) AS point"
_VERDICT, _REQUESTS = "split_part(outcome, ':', 1)", "CAST(sum(requests) AS bigint) AS requests"
_KIND = "split_part(outcome, ':', 2)"
# As customers see it, before the most frequent are looked for: how many there are must not tell them more.
_OTHERWISE = {kind: told for kind in FailureKind if (told := told_kind(kind)) != kind}
_WHEN = " ".join(f"WHEN '{kind}' THEN {_VERDICT} || ':' || '{told}'" for kind, told in _OTHERWISE.items())
_TOLD = f"CASE {_KIND} {_WHEN} ELSE outcome END"


def _series(step: Step, outcome: str) -> str:
    """A row for each outcome of a point, and one without outcome for the times of its answers. The most frequent
    failures of the series are told one by one."""
    return f"""
WITH {_MARKS}, p AS ({_rows(step.span)}),
g AS MATERIALIZED (SELECT {_POINT}, {outcome} AS outcome, {summed("p")} FROM p GROUP BY 1, 2),
often AS (SELECT outcome FROM g GROUP BY outcome ORDER BY sum(requests) DESC, outcome LIMIT {MOST_OUTCOMES}),
n AS (
  SELECT point, requests, messages, CASE WHEN {_KIND} = '' OR outcome IN (SELECT outcome FROM often) THEN outcome
    ELSE {_VERDICT} || ':' || '{OTHER}' END AS outcome FROM g),
c AS (
  SELECT point, outcome, CAST(sum(requests) AS bigint) AS requests, CAST(sum(messages) AS bigint) AS messages,
    NULL AS millis, NULL AS classes FROM n GROUP BY point, outcome
  UNION ALL
  SELECT point, NULL, NULL, NULL, CAST(sum(millis) AS bigint),
    ARRAY[{", ".join(f"CAST(sum({column}) AS bigint)" for column in TIMES)}] FROM g GROUP BY point)
SELECT marks.folded_to, c.* FROM marks LEFT JOIN c ON true"""


SERIES = {(step, exact): text(_series(step, "outcome" if exact else _TOLD)) for step in Step for exact in (True, False)}
BARS = text(f"""
WITH {_MARKS}, p AS ({_rows(HOUR)}),
c AS (SELECT of_id, {_POINT}, {_VERDICT} AS outcome, {_REQUESTS} FROM p GROUP BY 1, 2, 3)
SELECT marks.folded_to, c.* FROM marks LEFT JOIN c ON true""")
# How many requests webhooks had from `:since` on, and how many of these failed: one row for each.
_IS_FAILED = f"{_VERDICT} IN ({', '.join(repr(str(verdict)) for verdict in _FAILED)})"
_OF_WEBHOOK = f"""CAST(coalesce(sum(requests), 0) AS bigint) AS requests,
    CAST(coalesce(sum(requests) FILTER (WHERE {_IS_FAILED}), 0) AS bigint) AS failed"""
# All webhooks of an account, each along the primary key: what others have is not read.
FAILING_OF_ACCOUNT = text(f"""
WITH {_MARKS},
own AS MATERIALIZED (SELECT id FROM dispatcher.webhooks WHERE account_id = :account AND deleted_at IS NULL),
c AS (
  SELECT own.id, {_OF_WEBHOOK} FROM own LEFT JOIN LATERAL (
    SELECT outcome, requests FROM dispatcher.pulses p
    WHERE span = {FINE} AND p.of_id = own.id AND starts_at >= :since OFFSET 0) p ON true
  GROUP BY own.id)
SELECT marks.folded_to, c.* FROM marks LEFT JOIN c ON true""")
# Those of all accounts that fail, and those of `:ids`.
FAILING_OF_ALL = text(f"""
WITH {_MARKS},
c AS (
  SELECT of_id, {_OF_WEBHOOK} FROM dispatcher.pulses WHERE span = {FINE} AND starts_at >= :since GROUP BY of_id),
w AS (
  SELECT id FROM dispatcher.webhooks WHERE deleted_at IS NULL AND id IN (
    SELECT of_id FROM c WHERE failed > 0 UNION SELECT unnest(CAST(:ids AS uuid[]))))
SELECT marks.folded_to, w.id, coalesce(c.requests, 0) AS requests, coalesce(c.failed, 0) AS failed
FROM marks LEFT JOIN w ON true LEFT JOIN c ON c.of_id = w.id""")
FAILURES = text(f"""
WITH {_MARKS},
c AS (
  SELECT of_id, outcome, {_REQUESTS} FROM dispatcher.pulses
  WHERE span = {FINE} AND of_id = ANY(CAST(:ids AS uuid[])) AND starts_at >= :since AND {_IS_FAILED} GROUP BY 1, 2)
SELECT marks.folded_to, c.* FROM marks LEFT JOIN c ON true""")
_FOLDED_TO = text("SELECT reached FROM dispatcher.pulse_marks WHERE name = 'folded'")


def series(session: Session, recent: Recent, of_id: UUID, times: Times, now: datetime, *, exact: bool) -> Series:
    """What came of the requests of a webhook, of an account, or of ALL. `exact`: as operators see it, not customers."""
    found = session.execute(SERIES[times.step, exact], _asked([of_id], times)).all()
    counted = [Row(*row[1:5]) for row in found if row.outcome is not None]
    answers = [Answers(row.point, AnswerTimes(row.classes, row.millis)) for row in found if row.classes is not None]
    rest = recent.since(session, found[0].folded_to, now)
    new = [row for row in rest.rows.get(of_id, ()) if times.since <= row.starts_at < times.until]
    answers += [row for row in rest.answers.get(of_id, ()) if times.since <= row.starts_at < times.until]
    return Series.of(times, rest.until, joined(counted, new, exact=exact), answers)


def bars(session: Session, recent: Recent, ids: Collection[UUID], now: datetime) -> Mapping[UUID, Sequence[Bar]]:
    """Small charts of many webhooks or accounts at once: the last 24 hours of each, by the hour. The first of its bars
    is a whole hour, the last one has just begun."""
    times = Times.of(now, now - CHART, step=Step.HOUR)
    found = session.execute(BARS, _asked(ids, times)).all()
    rows = [(of_id, point, outcome, requests) for _, of_id, point, outcome, requests in found if of_id is not None]
    rest = recent.since(session, found[0].folded_to, now)
    for of_id in ids:
        rows += [(of_id, row.starts_at, row.outcome, row.requests) for row in rest.rows.get(of_id, ())]
    charts = {of_id: {starts_at: dict.fromkeys(Verdict, 0) for starts_at in times.points} for of_id in ids}
    for of_id, at, outcome, requests in rows:
        verdict, starts_at = verdict_of(outcome), floor(at, times.step.length)
        if verdict is not None and starts_at in charts[of_id]:
            charts[of_id][starts_at][verdict] += requests
    return {
        of_id: [
            Bar(at, bar[Verdict.ACKNOWLEDGED], bar[Verdict.REJECTED], bar[Verdict.TEMPORARY])
            for at, bar in chart.items()
        ]
        for of_id, chart in charts.items()
    }


def failing(
    session: Session,
    recent: Recent,
    now: datetime,
    *,
    account: UUID | None = None,
    always: Collection[UUID] = (),
    exact: bool,
) -> list[Failing]:
    """The ten webhooks, of all accounts or one, that failed most often in the last hour, worst first: of those with 20
    requests in it or more, of which a tenth failed; and each of `always` that failed at all. `exact`: as operators see
    it, not customers."""
    since = floor(now - LOOKED_BACK, timedelta(minutes=FINE))
    given: dict[str, object] = {"since": since, "epoch": EPOCH}
    if account is not None:
        found = session.execute(FAILING_OF_ACCOUNT, {**given, "account": account}).all()
    else:
        rest = recent.since(session, session.scalar(_FOLDED_TO), now)
        new = [of_id for of_id, rows in rest.rows.items() if any(map(_failed, rows))]
        found = session.execute(FAILING_OF_ALL, {**given, "ids": array(new)}).all()
    rest = recent.since(session, found[0].folded_to, now)  # upkeep may have gone on meanwhile
    counts = []
    for _, of_id, requests, failed in found:
        rows = rest.rows.get(of_id, ())
        total = (requests or 0) + sum(row.requests for row in rows)
        failures = (failed or 0) + sum(row.requests for row in rows if _failed(row))
        if failures and (of_id in always or (total >= LEAST and failures >= SHARE * total)):
            counts.append((of_id, total, failures))
    ranked = sorted(counts, key=lambda one: (-one[2], one[0]))
    worst = [one for rank, one in enumerate(ranked) if rank < WORST or one[0] in always]
    often = _failures(session, recent, [of_id for of_id, *_ in worst], given, now, exact=exact) if worst else {}
    return [Failing(*one, max(often[one[0]], key=often[one[0]].__getitem__)) for one in worst]


def _failures(
    session: Session, recent: Recent, ids: Sequence[UUID], given: Mapping[str, object], now: datetime, *, exact: bool
) -> Mapping[UUID, Counter[str]]:
    """How often these webhooks failed with what."""
    found = session.execute(FAILURES, {**given, "ids": array(ids)}).all()
    rest = recent.since(session, found[0].folded_to, now)
    counted = [(of_id, outcome, requests) for _, of_id, outcome, requests in found if of_id is not None]
    counted += [(of_id, row.outcome, row.requests) for of_id in ids for row in rest.rows.get(of_id, ()) if _failed(row)]
    often = {of_id: Counter[str]() for of_id in ids}
    for of_id, outcome, requests in counted:
        often[of_id][told_outcome(outcome, exact=exact)] += requests
    return often


def _failed(row: Row) -> bool:
    return verdict_of(row.outcome) in _FAILED


def _asked(ids: Collection[UUID], times: Times) -> dict[str, object]:
    given = {"since": times.since, "until": times.until, "step": times.step.length, "epoch": EPOCH}
    return {"ids": array(list(ids)), **given}
