"""What a replay sends: the events that a webhook takes now and did not get. They are gone through in the order of their
ids, so of their times, in steps of bounded cost."""
# ruff: noqa: S608 - composed of constants

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dispatcher.db.arrays import array
from dispatcher.db.models import ERASED
from dispatcher.db.pages import FIRST
from dispatcher.db.partitions import partitions_of
from dispatcher.deliveries import selection as counting
from dispatcher.deliveries.opening import delivery_id
from dispatcher.deliveries.selection import Counted, Place, Selection
from dispatcher.event_types import ALL, TEST
from dispatcher.ids import first_id_at, time_of
from dispatcher.states import State

CLOCKS_DIFFER = timedelta(seconds=5)  # an id can be of a time that its database has not reached yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What a webhook of an account did not get, up to a moment. What its events came after, it takes itself; what was
    closed after, it got meanwhile."""

    account: UUID
    selection: Selection
    moment: datetime

    def given(self, after: UUID | None, most: int) -> dict[str, Any]:
        since, until = self.selection.since, self.selection.until
        first = first_id_at(since) if since is not None else FIRST
        return {
            "account": self.account,
            "webhook": self.selection.webhook,
            # Below the first: the row compared with is not included.
            "after": after if after is not None else UUID(int=max(first.int - 1, 0)),
            "end": first_id_at(self.moment + CLOCKS_DIFFER if until is None else until),
            "later": first_id_at(self.moment + CLOCKS_DIFFER),
            "most": most,
            "states": array(self.selection.states),
            "moment": self.moment,
            "again": State.DELIVERED in self.selection.states,
        }


def count_missing(session: Session, missing: Missing, *, after: Place) -> Counted:
    """Counts in the account's next events those that would be sent."""
    given = missing.given(after.delivery, counting.COUNTED)
    row = session.execute(_COUNT, given).one()
    assert missing.selection.webhook is not None
    reached = Place(missing.selection.webhook, row.last) if row.looked_at == counting.COUNTED else None
    return Counted(row.matched, reached, row.erased)


class Found(NamedTuple):
    """Events without a delivery, and closed deliveries, both to be opened unless their message was erased; how many
    rows were looked at, and up to which id (None: that was all)."""

    events: Sequence[UUID]
    deliveries: Sequence[UUID]
    looked_at: int
    reached: UUID | None


def look_for_missing(session: Session, missing: Missing, after: UUID | None, *, most: int, room: int) -> Found:
    """Looks at the account's next `most` events, oldest first, for `room` to be sent."""
    rows = session.execute(_FIND, {**missing.given(after, most), "room": room}).all()
    found = [row for row in rows if row.id is not None]
    if len(found) == room:
        reached: UUID | None = found[-1].id
    else:
        reached = rows[0].last if rows[0].looked_at == most else None
    return Found(
        [row.id for row in found if row.delivery_id is None],
        [row.delivery_id for row in found if row.delivery_id is not None],
        rows[0].looked_at,
        reached,
    )


def kept_since(session: Session, since: datetime) -> datetime | None:
    """From when on events are kept, if that is later than this time."""
    weeks = partitions_of(session.connection(), "events")
    return time_of(weeks[0].first) if weeks and first_id_at(since) < weeks[0].first else None


# Compared as rows, for which there is but one index: of a new webhook the planner believes that it has hardly any
# deliveries, and would read all of them for each event. And plainly: by this partitions are left out. Each type is
# judged once, and `IS TRUE` keeps that from becoming a join, which would compare each event with each type. Test events
# are for the webhook that they were sent to. A delivery goes some days before its event: whether it was acknowledged is
# then in its attempts, as long as these are kept.
_FITTING = f"""
WITH looked_at AS MATERIALIZED (
  SELECT id, type, app, codec FROM dispatcher.events
  WHERE (account_id, id) > (:account, :after) AND (account_id, id) < (:account, :end)
    AND id > CAST(:after AS uuid) AND id < CAST(:end AS uuid)
  ORDER BY account_id, id LIMIT :most),
reached AS MATERIALIZED (
  SELECT count(*) AS looked_at, (SELECT id FROM looked_at ORDER BY id DESC LIMIT 1) AS last FROM looked_at),
taken AS MATERIALIZED (
  SELECT t.type FROM (SELECT DISTINCT type FROM looked_at) t
  WHERE t.type <> '{TEST}' AND EXISTS (
    SELECT 1 FROM dispatcher.subscriptions s
    WHERE s.webhook_id = :webhook
      AND (s.event_type = '{ALL}' OR s.event_type = t.type OR starts_with(t.type, s.event_type || '.')))),
webhook AS MATERIALIZED (SELECT id, app FROM dispatcher.webhooks WHERE id = :webhook AND deleted_at IS NULL),
fitting AS MATERIALIZED (
  SELECT l.id, l.codec = {ERASED} AS is_erased, d.id AS delivery_id,
    CASE
      WHEN d.id IS NOT NULL THEN d.state = ANY(CAST(:states AS text[])) AND d.finished_at <= :moment
      WHEN :again THEN true
      ELSE (SELECT 1 FROM dispatcher.attempts a
            WHERE a.delivery_id = {delivery_id("l.id", "w.id")} AND a.id < CAST(:later AS uuid)
              AND a.verdict = 'acknowledged' LIMIT 1) IS NULL
    END AS fits
  FROM looked_at l
  JOIN webhook w ON w.app IS NULL OR w.app = l.app
  LEFT JOIN LATERAL (
    SELECT id, state, finished_at FROM dispatcher.deliveries
    WHERE (event_id, webhook_id) >= (l.id, :webhook) AND (event_id, webhook_id) <= (l.id, :webhook)
    ORDER BY event_id, webhook_id LIMIT 1) d ON true
  WHERE (l.type IN (SELECT type FROM taken)) IS TRUE)
"""
_COUNT = text(f"""{_FITTING}
SELECT r.looked_at, r.last, f.matched, f.erased FROM reached r CROSS JOIN (
  SELECT count(*) FILTER (WHERE fits AND NOT is_erased) AS matched,
    count(*) FILTER (WHERE fits AND is_erased) AS erased FROM fitting) f
""")
_FIND = text(f"""{_FITTING}
SELECT r.looked_at, r.last, f.id, f.delivery_id FROM reached r LEFT JOIN (
  SELECT id, delivery_id FROM fitting WHERE fits ORDER BY id LIMIT :room) f ON true
ORDER BY f.id
""")
