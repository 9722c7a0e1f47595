"""Removes old rows in small pieces: closed deliveries, notices, and what was captured of answers.

Each kind is walked through in the order of its ids. The place that was reached is kept in the database, in the piece's
own transaction: the next run goes on there, and does not read what was removed again and again.
"""
# ruff: noqa: S608 - composed of constants

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from dispatcher.db.arrays import array
from dispatcher.db.retention.kinds import Kind
from dispatcher.ids import first_id_at
from dispatcher.states import CLOSED

LOOKED_AT = 1_000  # rows of one piece
_LAST_ID = UUID(int=(1 << 128) - 1)

_CLOSED = f"state IN ({', '.join(repr(str(state)) for state in sorted(CLOSED))})"
_ENDED = f"{_CLOSED} AND (finished_at >= :until) IS NOT TRUE"
_QUIET = (
    "due_at IS NULL AND claimed_until IS NULL AND quarantined_at IS NULL"
    " AND greatest(observed_at, last_sent_at) < :until"
)
_CAPTURED = "(answer_headers IS NOT NULL OR answer_excerpt IS NOT NULL)"


class Walk(NamedTuple):
    """How a kind is walked through."""

    table: str
    is_old: str  # a condition on the table's rows
    remove: TextClause
    by_age: bool  # ids that are younger than the time are not looked at
    again: bool  # what is passed by can become old later: once a day it begins anew


def _delete(table: str, is_old: str) -> TextClause:
    # They are locked, so they stay at their places. What others hold at this moment is left to the next walk.
    return text(f"""
DELETE FROM dispatcher.{table} WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM dispatcher.{table} WHERE id = ANY(CAST(:ids AS uuid[])) AND {is_old} FOR UPDATE SKIP LOCKED))
""")


# The ends of the ids say in which partitions to look. Nobody else changes requests.
_BLANK = text("""
UPDATE dispatcher.requests SET answer_headers = NULL, answer_excerpt = NULL
WHERE id = ANY(CAST(:ids AS uuid[])) AND id > CAST(:after AS uuid) AND id <= CAST(:reached AS uuid)
""")

WALKS: Mapping[Kind, Walk] = {
    Kind.BODIES: Walk("requests", _CAPTURED, _BLANK, by_age=True, again=False),
    Kind.DELIVERIES: Walk("deliveries", _ENDED, _delete("deliveries", _ENDED), by_age=True, again=True),
    Kind.NOTICES: Walk("notices", _QUIET, _delete("notices", _QUIET), by_age=False, again=True),
}
# Ordered by the column: `id` alone would be the text, for which there is no index.
_LOOK = {
    kind: text(f"""
SELECT t.id::text AS id, {walk.is_old} AS is_old FROM dispatcher.{walk.table} t
WHERE t.id > CAST(:after AS uuid) AND t.id < CAST(:end AS uuid) ORDER BY t.id LIMIT {LOOKED_AT}
""")
    for kind, walk in WALKS.items()
}
_REACHED = text("""
SELECT reached, began_at BETWEEN now() - interval '1 day' AND now() AS is_fresh
FROM dispatcher.retention WHERE kind = :kind
""")
_AGAIN = text("UPDATE dispatcher.retention SET began_at = 'epoch'")
_REACH = text("""
INSERT INTO dispatcher.retention AS r (kind, reached, began_at) VALUES (:kind, CAST(:reached AS uuid), now())
ON CONFLICT (kind) DO UPDATE
SET reached = excluded.reached, began_at = CASE WHEN :begins THEN now() ELSE r.began_at END
""")


def end_of(kind: Kind, until: datetime) -> UUID:
    """The ids from this one on are not looked at."""
    return first_id_at(until) if WALKS[kind].by_age else _LAST_ID


def begin_again(connection: Connection) -> None:
    """The next pieces look at everything again that can have become old since it was passed by."""
    connection.execute(_AGAIN)


class Step(NamedTuple):
    """What a piece came to."""

    removed: int
    is_last: bool  # nothing is left to look at now


def remove_piece(connection: Connection, kind: Kind, until: datetime) -> Step:
    """Looks at the next rows of a kind, and removes what is older than this, in the caller's transaction."""
    walk, end = WALKS[kind], end_of(kind, until)
    place = connection.execute(_REACHED, {"kind": kind}).one_or_none()
    begins = place is None or place.reached >= end or (walk.again and not place.is_fresh)
    after = UUID(int=0) if begins or place is None else place.reached
    looked = {"after": after, "end": end} | ({"until": until} if ":until" in walk.is_old else {})
    rows = connection.execute(_LOOK[kind], looked).all()
    if not rows:
        if begins and place is not None:  # so that a walk that found nothing is not begun at each run
            connection.execute(_REACH, {"kind": kind, "reached": after, "begins": True})
        return Step(0, is_last=True)
    removed, ids = 0, [row.id for row in rows if row.is_old]
    if ids:
        given = {"ids": array(ids), "until": until, "after": after, "reached": rows[-1].id}
        removed = connection.execute(walk.remove, given).rowcount
    connection.execute(_REACH, {"kind": kind, "reached": rows[-1].id, "begins": begins})
    return Step(removed, is_last=len(rows) < LOOKED_AT)
