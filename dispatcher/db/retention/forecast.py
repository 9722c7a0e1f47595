"""What retention would remove now: for `dispatcher retention --dry-run` and `dispatcher doctor`."""
# ruff: noqa: S608 - composed of constants and of the names of our tables

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from dispatcher.db.partitions import Partition, partitions_of
from dispatcher.db.retention.kinds import EVER, TABLES, Kept, Kind
from dispatcher.db.retention.pieces import WALKS, end_of
from dispatcher.db.retention.rounds import spared_until
from dispatcher.db.retention.weeks import has_open_deliveries
from dispatcher.ids import first_id_at, time_of

COUNTED = 100_000  # rows of a kind, at most; of weeks, PostgreSQL's own estimate is taken


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would go of a kind."""

    kind: Kind
    days: int | None  # None: it is kept for ever
    said: bool  # somebody has set the time
    spared_until: datetime | None  # before that, nothing goes
    oldest: datetime | None  # None: there is nothing of it. Of weeks, when the oldest one with rows began
    weeks: int  # that would go
    weeks_open: int  # that are old enough, and have an open delivery
    rows: int
    rows_complete: bool
    bytes: int  # that would be free


def forecast(connection: Connection, kept: Kept, now: datetime) -> list[Forecast]:
    """For each kind what is older than it is to be kept, also where that is spared for now. It reads a bounded number
    of rows."""
    connection.execute(text("SET LOCAL enable_seqscan = off"))  # the planner cannot know that the first row will do
    spared = spared_until(connection)
    return [_of_kind(connection, kind, kept, now, spared) for kind in Kind]


def _of_kind(connection: Connection, kind: Kind, kept: Kept, now: datetime, spared: datetime | None) -> Forecast:
    until, days, said = kept.would_go_until(kind, now), kept.days[kind], kind in kept.said
    waits = spared if spared is not None and spared > now and not said and until is not None else None
    if kind in WALKS:
        rows, size, oldest = _pieces(connection, kind, until)
        return Forecast(kind, days, said, waits, oldest, 0, 0, min(rows, COUNTED), rows <= COUNTED, size)
    weeks = [week for table in TABLES[kind] for week in partitions_of(connection, table)]
    oldest = min((max(EVER, time_of(week.first)) for week in weeks if _has_rows(connection, week)), default=None)
    old = [week for week in weeks if until is not None and week.end <= first_id_at(until)]
    still_open = [week for week in old if week.table == "events" and has_open_deliveries(connection, week)]
    going = [week for week in old if week not in still_open]
    row = connection.execute(_SIZES, {"names": [week.name for week in going]}).one()
    return Forecast(
        kind,
        days,
        said,
        waits,
        oldest,
        len(going),
        len(still_open),
        int(row.rows),
        rows_complete=True,
        bytes=int(row.bytes),
    )


def _has_rows(connection: Connection, week: Partition) -> bool:
    # By way of its table: who may read that has no right on a partition.
    any_row = f"SELECT 1 FROM dispatcher.{week.table} WHERE {week.condition}"
    return bool(connection.scalar(text(f"SELECT EXISTS ({any_row})")))


def _pieces(connection: Connection, kind: Kind, until: datetime | None) -> tuple[int, int, datetime | None]:
    """How many rows are old, their bytes, and when the oldest of all was made."""
    oldest = connection.scalar(_OLDEST[kind])
    if until is None:
        return 0, 0, oldest
    given = {"until": until} if ":until" in WALKS[kind].is_old else {}
    row = connection.execute(_COUNT[kind], given | {"end": end_of(kind, until)}).one()
    return int(row.rows), int(row.bytes), oldest


_BYTES = dict.fromkeys(WALKS, "pg_column_size(t)") | {
    Kind.BODIES: "coalesce(pg_column_size(answer_headers), 0) + coalesce(pg_column_size(answer_excerpt), 0)"
}
# Bodies are not looked for where they have been removed.
_AFTER = {kind: f"'{UUID(int=0)}'" for kind in WALKS} | {
    Kind.BODIES: f"coalesce((SELECT reached FROM dispatcher.retention WHERE kind = '{Kind.BODIES}'), '{UUID(int=0)}')"
}
_COUNT = {
    kind: text(f"""
SELECT count(*) AS rows, coalesce(sum(bytes), 0) AS bytes FROM (
  SELECT {_BYTES[kind]} AS bytes FROM dispatcher.{walk.table} t
  WHERE id > {_AFTER[kind]} AND id < CAST(:end AS uuid) AND {walk.is_old} ORDER BY id LIMIT {COUNTED + 1}) old
""")
    for kind, walk in WALKS.items()
}
_OLDEST = {
    Kind.BODIES: text(
        f"SELECT started_at FROM dispatcher.requests WHERE id > {_AFTER[Kind.BODIES]}"
        f" AND {WALKS[Kind.BODIES].is_old} ORDER BY id LIMIT 1"
    ),
    Kind.DELIVERIES: text("SELECT created_at FROM dispatcher.deliveries ORDER BY id LIMIT 1"),
    Kind.NOTICES: text("SELECT min(observed_at) FROM dispatcher.notices"),
}
# One that was never analysed says -1.
_SIZES = text("""
SELECT coalesce(sum(greatest(c.reltuples, 0)), 0) AS rows, coalesce(sum(pg_total_relation_size(c.oid)), 0) AS bytes
FROM pg_class c WHERE c.relnamespace = 'dispatcher'::regnamespace AND c.relname = ANY(:names)
""")
