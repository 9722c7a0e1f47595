"""Claiming: a worker's exclusive, expiring right to make the next attempt of a delivery.

One statement goes from webhook to webhook along the index of ready deliveries (a skip scan), from a rotating cursor.
From each it takes what the concurrency limit and the rate limit allow, first attempts and retries in turn. So every due
webhook is served equally often, however much the others have waiting. The cost depends neither on finished rows nor on
one webhook's backlog.

A second, small statement takes what passes an open circuit: trial requests, and attempts that a person asked for.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection

from dispatcher.db.arrays import array
from workers.claims.concurrency import ConcurrencyClass, Rooms
from workers.claims.statements import CLAIM_PASSING, CLAIM_READY, SCAN_STEPS

CLAIM = timedelta(minutes=2)
ROUND = 1_000  # about how many deliveries one round over all due webhooks takes; each webhook gets a share of it
MAX_REQUESTS = 400  # per claim; with half of that, PostgreSQL spends a fifth more on each
MAX_MESSAGES = 2 * ROUND  # per claim, of at most 256 KiB each
_HEAD = 5  # columns of a row that describe the whole claim


class Claim(NamedTuple):
    """One claimed delivery with everything of the event that its attempt needs; the webhook is looked up by its
    version. Ids are texts, because they are only sent, written and compared.

    `batch_limit`: the most deliveries its request may carry, if a batch with it has failed before. `failing`: the
    webhook has a row in `circuit_breakers`. `trial`: this is the trial request of an open circuit.
    """

    delivery_id: str
    webhook_id: str
    webhook_version: int
    number: int  # of this attempt
    schedule_step: int
    batch_limit: int | None
    failing: bool
    trial: bool
    event_id: str
    event_type: str
    app: str | None
    expires_at: datetime | None
    occurred_at: datetime
    data: bytes
    claimed_at: datetime  # the database's clock


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim took. The deliveries of one webhook are adjacent, the ones due longest first.

    `round_done`: every webhook with something ready was passed, so what was not taken is not available now. `paced`:
    something is due, and only a rate limit keeps it waiting.
    """

    claims: Sequence[Claim]
    round_done: bool
    full: bool
    paced: bool = False


class Claimer:
    """Claims for one loop, under an id that marks what the loop owns."""

    def __init__(self) -> None:
        self.id = str(uuid4())
        self._cursor = str(uuid4())  # loops start at different places
        self._visited = 1
        self.start_round()

    def start_round(self) -> None:
        """Starts a round here: it is done once every webhook with something ready has been passed."""
        self._round_from = self._cursor

    def claim(self, connection: Connection, rooms: Rooms, limit: int, *, circuit_breakers: bool = True) -> Claimed:
        """Claims due deliveries for up to `limit` requests, from each webhook as many as `rooms` allows. With
        `circuit_breakers` False, open circuits hold nothing back."""
        limit = min(limit, MAX_REQUESTS)
        rows = connection.execute(
            CLAIM_READY,
            {
                "limit": limit,
                "first_limit": rooms.first,
                "share": ROUND // self._visited,
                "cursor": self._cursor,
                "ids": array([room.webhook_id for room in rooms.known]),
                "rooms": array([room.free for room in rooms.known]),
                "classes": array([room.concurrency_class for room in rooms.known]),
                "class_rooms": array([rooms.classes.get(each, limit) for each in ConcurrencyClass]),
                "messages": MAX_MESSAGES,
                # At random: a strict alternation falls into step with a webhook that is served every other time.
                "retries_first": random.random() < 0.5,  # noqa: S311
                "circuit_breakers": circuit_breakers,
                "me": self.id,
                "span": CLAIM,
            },
        ).all()
        head = rows[0]
        self._visited = max(1, head.visited)
        claims = _claims([row[_HEAD:] for row in rows if row[_HEAD] is not None])
        round_done = self._advance(head, found=bool(claims))
        return Claimed(claims, round_done=round_done, full=bool(head.is_full), paced=head.paced > 0)

    def claim_passing(self, connection: Connection, limit: int) -> Sequence[Claim]:
        """Claims what passes an open circuit: for each a trial request when it is due, and what a person asked for."""
        rows = connection.execute(CLAIM_PASSING, {"most": limit, "me": self.id, "span": CLAIM}).all()
        return _claims(rows)

    def _advance(self, head: Any, *, found: bool) -> bool:
        """Moves the cursor on. Returns whether a whole round is done, which can take several claims."""
        before = self._cursor
        self._cursor = (head.last_claimed if head.is_full else head.last_visited) or self._cursor
        all_passed = head.visited < SCAN_STEPS and not head.is_full
        round_done = all_passed or (not found and _passes(before, self._cursor, self._round_from))
        if round_done or found:
            self.start_round()
        return round_done


def _passes(start: str, end: str, point: str) -> bool:
    """Whether the way round from `start` (not included) to `end` passes `point`."""
    return start < point <= end if start < end else point > start or point <= end


def _claims(rows: Iterable[Sequence[Any]]) -> list[Claim]:
    return [Claim._make((*others, bytes(data), claimed_at)) for *others, data, claimed_at in rows]
