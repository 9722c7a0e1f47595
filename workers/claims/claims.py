"""Claiming: a worker's exclusive, expiring right to make the next attempt of a delivery.

One statement goes from webhook to webhook along the index of ready deliveries (a skip scan), from a rotating cursor,
and takes from each what its concurrency limit and its rate allow, first attempts and retries in turn: every due webhook
is served equally often, whatever the others have waiting. Its cost depends neither on finished rows nor on one
webhook's backlog.
A second, small statement takes what passes an open circuit: trials, and attempts that a person asked for.
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
ROUND = 1_000  # deliveries that one round over all due webhooks takes, about: one webhook's share is a part of it
MAX_REQUESTS = 400  # that a claim brings: with half of that, PostgreSQL spends a fifth more on each
MAX_MESSAGES = 2 * ROUND  # that a claim brings, at 256 KiB each at most
_HEAD = 5  # columns of a row that tell of the whole claim


class Claim(NamedTuple):
    """One claimed delivery with all that its attempt needs of the event; the webhook is looked up by its version. Ids
    are texts: all that is done with them is to send, write and compare them.

    `batch_limit`: the most deliveries its request may carry, where a batch with it has failed before. `failing`: the
    webhook has a row of `circuit_breakers`. `trial`: this is the one that tries an open circuit.
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
    """What one claim brought, the deliveries of one webhook side by side, the ones due longest first.

    `round_done`: every webhook with something ready has been passed, so what was not taken is not to be had now.
    `paced`: something is due, and only a rate limit keeps it waiting.
    """

    claims: Sequence[Claim]
    round_done: bool
    full: bool
    paced: bool = False


class Claimer:
    """Claims for one loop: it owns what it claims under its own id."""

    def __init__(self) -> None:
        self.id = str(uuid4())
        self._cursor = str(uuid4())  # loops start at different places
        self._visited = 1
        self.start_round()

    def start_round(self) -> None:
        """The next round begins here: it is done when every webhook with something ready has been passed since."""
        self._round_from = self._cursor

    def claim(self, connection: Connection, rooms: Rooms, limit: int, *, circuit_breakers: bool = True) -> Claimed:
        """Takes due deliveries for up to `limit` requests, from each webhook what `rooms` says.
        `circuit_breakers` False: open ones hold nothing back."""
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
                # By chance: what alternates falls into step with a webhook that is served every other time.
                "retries_first": random.random() < 0.5,  # noqa: S311
                "circuit_breakers": circuit_breakers,
                "me": self.id,
                "span": CLAIM,
            },
        ).all()
        head = rows[0]
        self._visited = max(1, head.visited)
        claims = _claims([row[_HEAD:] for row in rows if row[_HEAD] is not None])
        round_done = self._go_on(head, found=bool(claims))
        return Claimed(claims, round_done=round_done, full=bool(head.is_full), paced=head.paced > 0)

    def claim_passing(self, connection: Connection, limit: int) -> Sequence[Claim]:
        """Takes what passes an open circuit: of each a trial when its time has come, and what a person asked for."""
        rows = connection.execute(CLAIM_PASSING, {"most": limit, "me": self.id, "span": CLAIM}).all()
        return _claims(rows)

    def _go_on(self, head: Any, *, found: bool) -> bool:
        """Moves the cursor on. Says whether a whole round is done, which can take several claims."""
        before = self._cursor
        self._cursor = (head.last_claimed if head.is_full else head.last_visited) or self._cursor
        all_passed = head.visited < SCAN_STEPS and not head.is_full
        round_done = all_passed or (not found and _passes(before, self._cursor, self._round_from))
        if round_done or found:
            self.start_round()
        return round_done


def _passes(start: str, end: str, point: str) -> bool:
    """Whether the way round from `start` to `end` (not counting `start`) passes `point`."""
    return start < point <= end if start < end else point > start or point <= end


def _claims(rows: Iterable[Sequence[Any]]) -> list[Claim]:
    return [Claim._make((*others, bytes(data), claimed_at)) for *others, data, claimed_at in rows]
