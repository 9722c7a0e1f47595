"""Claiming: a worker's exclusive, expiring right to make the next attempt of a delivery.

One statement hops from webhook to webhook along the index of ready deliveries, from a rotating cursor, and takes from
each what its window allows: every due webhook is served equally often, whatever the others have waiting. Its cost
depends neither on finished rows nor on one webhook's backlog.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from workers.windows import FIRST_WINDOW, Room

CLAIM = timedelta(minutes=2)
HOPS = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """One claimed delivery with all that its attempt needs of the event; the webhook is looked up by its version."""

    delivery_id: UUID
    webhook_id: UUID
    webhook_version: int
    number: int  # of this attempt
    schedule_step: int
    event_id: UUID
    event_type: str
    expires_at: datetime | None
    data: bytes
    claimed_at: datetime  # the database's clock


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim brought. `lap_done`: every webhook with something ready has been passed, so what was not taken
    is not to be had now. `webhooks`: how many it took from."""

    claims: Sequence[Claim]
    lap_done: bool
    full: bool

    @property
    def webhooks(self) -> int:
        return len({claim.webhook_id for claim in self.claims})


_CLAIM = """
WITH RECURSIVE hop(webhook_id, lap, n) AS (
  SELECT * FROM (
    (SELECT webhook_id, 0, 1 FROM dispatcher.deliveries
      WHERE state = 'ready' AND webhook_id > :cursor ORDER BY webhook_id LIMIT 1)
    UNION ALL
    (SELECT webhook_id, 1, 1 FROM dispatcher.deliveries WHERE state = 'ready' ORDER BY webhook_id LIMIT 1)
    LIMIT 1) first
  UNION ALL
  SELECT x.webhook_id, x.lap, h.n + 1 FROM hop h, LATERAL (
    (SELECT d.webhook_id, h.lap FROM dispatcher.deliveries d
      WHERE d.state = 'ready' AND d.webhook_id > h.webhook_id ORDER BY d.webhook_id LIMIT 1)
    UNION ALL
    (SELECT d.webhook_id, 1 FROM dispatcher.deliveries d
      WHERE d.state = 'ready' AND h.lap = 0 ORDER BY d.webhook_id LIMIT 1)
    LIMIT 1) x(webhook_id, lap)
  WHERE h.n < {hops} AND (x.lap = 0 OR x.webhook_id <= :cursor)),
found AS MATERIALIZED (
  SELECT d.id, h.webhook_id, h.n, coalesce(b.failing, false) AS failing
  FROM hop h
  LEFT JOIN unnest(CAST(:ids AS uuid[]), CAST(:rooms AS integer[]), CAST(:failing AS boolean[])) b(id, room, failing)
    ON b.id = h.webhook_id,
  LATERAL (
    SELECT id FROM dispatcher.deliveries
    WHERE state = 'ready' AND webhook_id = h.webhook_id AND due_at <= now()
      AND EXISTS (SELECT 1 FROM dispatcher.webhooks w
                  WHERE w.id = h.webhook_id AND w.enabled AND w.deleted_at IS NULL)
    ORDER BY due_at LIMIT coalesce(b.room, {first_window}) FOR UPDATE SKIP LOCKED) d
  LIMIT {limit}),
picked AS MATERIALIZED (
  SELECT id, webhook_id, n
  FROM (SELECT *, row_number() OVER (PARTITION BY failing ORDER BY n) AS place FROM found) f
  WHERE NOT failing OR place <= :failing_room),
taken AS (
  UPDATE dispatcher.deliveries d
  SET state = 'claimed', attempt_count = attempt_count + 1, claimed_by = :me, claimed_until = now() + :span
  FROM picked WHERE d.id = picked.id AND d.state = 'ready'
  RETURNING d.id, d.webhook_id, d.attempt_count, d.schedule_step, d.event_id, d.give_up_at)
SELECT v.*, t.*, w.version, e.type, e.data, now() AS claimed_at,
       -- Enqueueing never sets give_up_at beyond expires_at; a person's redelivery does, and passes it.
       CASE WHEN t.give_up_at <= e.expires_at THEN e.expires_at END AS expires_at
FROM (SELECT (SELECT webhook_id FROM picked ORDER BY n DESC LIMIT 1) AS last_claimed,
             (SELECT webhook_id FROM hop ORDER BY n DESC LIMIT 1) AS last_visited,
             (SELECT count(*) FROM hop) AS visited) v
LEFT JOIN (taken t JOIN dispatcher.events e ON e.id = t.event_id JOIN dispatcher.webhooks w ON w.id = t.webhook_id)
  ON true
"""


class Claimer:
    """Claims for one loop: it owns what it claims under its own id."""

    def __init__(self) -> None:
        self.id = uuid4()
        self._cursor = uuid4()  # loops start at different places
        self.start_lap()

    def start_lap(self) -> None:
        """The next lap begins here: it is done when every webhook with something ready has been passed since."""
        self._lap_from = self._cursor

    def claim(self, connection: Connection, rooms: Sequence[Room], limit: int, failing_room: int) -> Claimed:
        """Takes up to `limit` due deliveries: from each webhook what `rooms` says (the first window if nothing), from
        all that fail no more than `failing_room` together."""
        # LIMIT as a literal: with a parameter the planner guesses, and reads far too much.
        statement = text(_CLAIM.format(hops=HOPS, first_window=FIRST_WINDOW, limit=int(limit)))
        rows = connection.execute(
            statement,
            {
                "cursor": self._cursor,
                "ids": [room.webhook_id for room in rooms],
                "rooms": [room.free for room in rooms],
                "failing": [room.failing for room in rooms],
                "failing_room": failing_room,
                "me": self.id,
                "span": CLAIM,
            },
        ).all()
        head = rows[0]
        claims = [_claim(row) for row in rows if row.id is not None]
        full = len(claims) >= limit
        return Claimed(claims, lap_done=self._go_on(head, full=full, found=bool(claims)), full=full)

    def _go_on(self, head: Any, *, full: bool, found: bool) -> bool:
        """Moves the cursor on. Says whether a whole lap is done, which can take several claims."""
        before = self._cursor
        self._cursor = (head.last_claimed if full else head.last_visited) or self._cursor
        all_passed = head.visited < HOPS and not full
        lap_done = all_passed or (not found and _passes(before, self._cursor, self._lap_from))
        if lap_done or found:
            self.start_lap()
        return lap_done


def _passes(start: UUID, end: UUID, mark: UUID) -> bool:
    """Whether the way round from `start` to `end` (not counting `start`) passes `mark`."""
    return start < mark <= end if start < end else mark > start or mark <= end


def _claim(row: Any) -> Claim:
    return Claim(
        delivery_id=row.id,
        webhook_id=row.webhook_id,
        webhook_version=row.version,
        number=row.attempt_count,
        schedule_step=row.schedule_step,
        event_id=row.event_id,
        event_type=row.type,
        expires_at=row.expires_at,
        data=bytes(row.data),
        claimed_at=row.claimed_at,
    )
