"""Counts what came of requests, a step of upkeep: so recording a request writes nothing for it.

Requests are counted in the order of their ids, two minutes later, because an id is made before its request is sent.
What is recorded later still is found by comparing the counts with the requests, an hour later and six hours later:
where there are more requests than were counted, those five minutes are counted anew. From what was compared hours are
made, and from what was compared twice days.

Each of these three has a mark, how far it has come, and goes in pieces of five minutes at most. What it counts in about
a second is one transaction, with its mark locked: the counts and the mark are written together or not at all, and by
one process at a time.
"""
# ruff: noqa: S608 - composed of constants

from collections.abc import Mapping
from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from dispatcher.db.arrays import array
from dispatcher.ids import first_id_at, time_of
from dispatcher.webhooks.pulses.outcomes import ALL, COUNTED, COUNTS, OF_EACH, TIMES
from dispatcher.webhooks.pulses.steps import DAY, FINE, HOUR, KEPT, floor

LATE = timedelta(minutes=2)  # made before the request is sent, which may take a minute with its batch
PIECE = 10_000  # rows that are removed together
_TOGETHER = 1.0  # seconds: what is done in them is one transaction

_FINE, _DAY = timedelta(minutes=FINE), timedelta(minutes=DAY)
_ALL = f"'{ALL}'"

_COLUMNS = ", ".join(COUNTS)
ADD = text(f"""
WITH c AS MATERIALIZED ({COUNTED}),
added AS (
  INSERT INTO dispatcher.pulses AS p (span, of_id, starts_at, outcome, {_COLUMNS})
  SELECT {FINE}, of_id, :starts_at, outcome, {_COLUMNS} FROM ({OF_EACH}) e
  ON CONFLICT (span, of_id, starts_at, outcome) DO UPDATE
  SET {", ".join(f"{column} = p.{column} + excluded.{column}" for column in COUNTS)})
SELECT coalesce(sum(requests), 0) FROM c
""")
# Numbers of a day might not fit, which must not keep all others from being made.
_MOST = {column: 2**31 - 1 if column in TIMES else 2**63 - 1 for column in COUNTS}
SUM_UP = text(f"""
INSERT INTO dispatcher.pulses (span, of_id, starts_at, outcome, {_COLUMNS})
SELECT :span, of_id, :since, outcome, {", ".join(f"least(sum({column}), {most})" for column, most in _MOST.items())}
FROM dispatcher.pulses WHERE span = :finer AND starts_at >= :since AND starts_at < :until GROUP BY of_id, outcome
""")
COMPARE = text(f"""
SELECT (SELECT count(*) FROM dispatcher.requests WHERE id >= :first AND id < :end) AS there,
  (SELECT coalesce(sum(requests), 0) FROM dispatcher.pulses
   WHERE span = {FINE} AND of_id = {_ALL} AND starts_at = :starts_at) AS counted
""")
# Requests, or counts of some that are not kept any more.
_NEXT = text(f"""
SELECT (SELECT id FROM dispatcher.requests WHERE id >= :first AND id < :end ORDER BY id LIMIT 1) AS id,
  (SELECT starts_at FROM dispatcher.pulses
   WHERE span = {FINE} AND of_id = {_ALL} AND starts_at >= :begin ORDER BY starts_at LIMIT 1) AS starts_at
""")
_LOCK = text("SELECT reached FROM dispatcher.pulse_marks WHERE name = :name FOR NO KEY UPDATE SKIP LOCKED")
_REACHED = text("SELECT reached FROM dispatcher.pulse_marks WHERE name = :name")
_REACH = text("UPDATE dispatcher.pulse_marks SET reached = :reached WHERE name = :name")
_BEGIN = text("""
INSERT INTO dispatcher.pulse_marks (name, reached) SELECT unnest(CAST(:names AS text[])), :reached
ON CONFLICT DO NOTHING
""")
_CLEAR = text("DELETE FROM dispatcher.pulses WHERE span = :span AND starts_at = :starts_at")
FORGET = text(f"""
DELETE FROM dispatcher.pulses WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM dispatcher.pulses WHERE span = :span AND starts_at < :until
  ORDER BY span, starts_at LIMIT {PIECE} FOR UPDATE SKIP LOCKED))
""")


class _Step(NamedTuple):
    """Goes from one mark towards another, or to what is so old. `makes`: spans that are summed up behind it, and of
    which finer ones."""

    mark: str
    behind: str | None
    after: timedelta
    makes: Mapping[int, int]


_FOLD = _Step("folded", None, LATE, {})
_CHECK = _Step("checked", "folded", timedelta(hours=1), {HOUR: FINE})
_SETTLE = _Step("settled", "checked", timedelta(hours=6), {HOUR: FINE, DAY: HOUR})


def count_pulses(engine: Engine, now: datetime, until: float) -> dict[str, int]:
    """Goes on with all of it; after `until` (monotonic) the rest is left to the next run. Returns how many requests it
    counted, how many pieces it counted anew, and how many rows it removed."""
    _begin(engine, now)
    # The last comes first: after an outage, results that workers still hold get a run in which they are recorded.
    recounted = _go_on(engine, _SETTLE, now, until) + _go_on(engine, _CHECK, now, until)
    return {
        "requests_folded": _go_on(engine, _FOLD, now, until),
        "pulses_recounted": recounted,
        "pulses_removed": _forget(engine, now, until),
    }


def _begin(engine: Engine, now: datetime) -> None:
    """Where all marks begin: at the first request that there are counts for."""
    with engine.begin() as connection:
        if connection.scalar(_REACHED, {"name": _FOLD.mark}) is None:
            begin = _next_piece(connection, now - KEPT[HOUR], now)
            names = array([step.mark for step in (_FOLD, _CHECK, _SETTLE)])
            connection.execute(_BEGIN, {"names": names, "reached": begin})


def _go_on(engine: Engine, step: _Step, now: datetime, until: float) -> int:
    """Takes a step through as many pieces as it can. Returns how many requests, or pieces, it counted."""
    done, goes_on = 0, True
    while goes_on and monotonic() < until:
        with engine.begin() as connection:
            mark = connection.execute(_LOCK, {"name": step.mark}).one_or_none()
            if mark is None:
                break
            last = now - step.after
            if step.behind is not None:
                last = min(last, connection.scalar(_REACHED, {"name": step.behind}) or last)
            counted, reached = _through(connection, step, mark.reached, last, min(until, monotonic() + _TOGETHER))
            goes_on = reached > mark.reached
            if goes_on:
                connection.execute(_REACH, {"name": step.mark, "reached": reached})
        done += counted
    return done


def _through(
    connection: Connection, step: _Step, begin: datetime, last: datetime, until: float
) -> tuple[int, datetime]:
    """Takes a step through pieces, none of them later than `last`, at least one. Returns what it counted, and how far
    it came."""
    done = 0
    while True:
        end = floor(begin, _FINE) + _FINE
        if step is _FOLD:
            end = min(end, last)
        if begin >= end or end > last:
            return done, begin
        counted, there = _add(connection, begin, end) if step is _FOLD else _compare(connection, begin, end)
        reached = end if there else max(end, _next_piece(connection, end, last))
        for span, finer in step.makes.items():
            length = timedelta(minutes=span)
            if floor(reached, length) > (whole := floor(begin, length)):
                _sum_up(connection, whole, span, finer)
        done, begin = done + counted, reached
        if monotonic() >= until:
            return done, begin


def _next_piece(connection: Connection, begin: datetime, last: datetime) -> datetime:
    """The next piece with anything in it, from `begin` on; the one with `last` if there is none before."""
    ids = {"first": first_id_at(begin), "end": first_id_at(last)}
    found = connection.execute(_NEXT, {**ids, "begin": begin}).one()
    times = [time_of(found.id)] if found.id is not None else []
    return floor(min([*times, found.starts_at or last, last]), _FINE)


class _Piece(NamedTuple):
    """What came of a piece: how much was counted now, and how much there is."""

    counted: int
    there: int


def _add(connection: Connection, begin: datetime, end: datetime) -> _Piece:
    """Adds the requests with ids of this time, which is in one piece."""
    ids = {"first": first_id_at(begin), "end": first_id_at(end)}
    added = int(connection.execute(ADD, {**ids, "starts_at": floor(begin, _FINE)}).scalar_one())
    return _Piece(added, added)


def _compare(connection: Connection, begin: datetime, end: datetime) -> _Piece:
    """Counts a whole piece anew if there are more requests than were counted. There are fewer once they are too old to
    be kept."""
    ids = {"first": first_id_at(begin), "end": first_id_at(end)}
    there, counted = connection.execute(COMPARE, {**ids, "starts_at": begin}).one()
    if there <= counted:
        return _Piece(0, counted)
    connection.execute(_CLEAR, {"span": FINE, "starts_at": begin})
    _add(connection, begin, end)
    return _Piece(1, there)


def _sum_up(connection: Connection, begin: datetime, span: int, finer: int) -> None:
    connection.execute(_CLEAR, {"span": span, "starts_at": begin})
    end = begin + timedelta(minutes=span)
    connection.execute(SUM_UP, {"span": span, "finer": finer, "since": begin, "until": end})


def _forget(engine: Engine, now: datetime, until: float) -> int:
    """Removes what is too old, and was summed up."""
    with engine.connect() as connection:
        settled = connection.scalar(_REACHED, {"name": _SETTLE.mark}) or now
    forgotten = 0
    for span, kept in KEPT.items():
        count = PIECE
        while count == PIECE and monotonic() < until:
            older = {"span": span, "until": min(now - kept, floor(settled, _DAY))}
            with engine.begin() as connection:
                count = connection.execute(FORGET, older).rowcount
            forgotten += count
    return forgotten
