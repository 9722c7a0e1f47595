"""Claiming: a worker's exclusive, expiring right to make the next attempt of a delivery.

One statement goes along the index of ready deliveries, from account to account and within each account from webhook to
webhook (a skip scan), from where it stopped before. It goes breadth first: every account has a turn before one has its
second. From each webhook it takes what the concurrency limit and the rate limit allow, first attempts and retries in
turn. So accounts are served equally often, and within an account its webhooks, however much one has waiting. The cost
depends neither on finished rows nor on one webhook's backlog.

A second, small statement takes what passes an open circuit: trial requests, and attempts that a person asked for.
"""

import random
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, text

from dispatcher.db.arrays import array
from workers.claims.concurrency import MAX_REQUESTS, ConcurrencyClass, Rooms
from workers.claims.statements import CLAIM_PASSING, CLAIM_READY, CLAIM_READY_IN_CROWDS, MAX_BYTES

CLAIM = timedelta(minutes=2)
ROUND = 1_000  # about how many deliveries one round over all due webhooks takes; each webhook gets a share of it
MAX_MESSAGES = 2 * ROUND  # per claim
SCAN_STEPS = 100  # webhooks one claim visits
MAX_SCAN_STEPS = 1_600  # after claims that found nothing
MAX_PLACES = 50_000  # accounts whose place is remembered; others begin with their first webhook
_HEAD = 6  # columns of a row that describe the whole claim

Attempt: TypeAlias = tuple[str, int]  # the delivery, and the attempt's number
Place = TypeVar("Place", int, str)  # an account or a webhook, in the order of their turns

_ANY_ACCOUNT = text("SELECT floor(random() * coalesce(max(number), 0))::integer FROM dispatcher.accounts")


class Claim(NamedTuple):
    """One claimed delivery with everything of the event that its attempt needs; the webhook is looked up by its
    version. Ids are texts, because they are only sent, written and compared.

    `batch_limit`: the most deliveries its request may carry, if a batch with it has failed before. `failing`: the
    webhook has a row in `circuit_breakers`. `trial`: this is the trial request of an open circuit.
    """

    delivery_id: str
    account_no: int
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
    transaction: str = ""  # the id of the one that claimed it, in the database
    trace_id: str | None = None

    @property
    def attempt(self) -> Attempt:
        return self.delivery_id, self.number

    @property
    def ids(self) -> dict[str, str]:
        """What each log line about it says."""
        return {"delivery": self.delivery_id, "event_id": self.event_id, "webhook": self.webhook_id}


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim took. The deliveries of one webhook are adjacent, the ones due longest first. The webhooks with
    the fewest bytes come first.

    `round_done`: every webhook with something ready was passed, so what was not taken is not available now. `paced`:
    something is due, and only a rate limit keeps it waiting. `ready`: something was ready, taken or not.
    """

    claims: Sequence[Claim]
    round_done: bool
    full: bool
    paced: bool = False
    ready: bool = True


class Claimer:
    """Claims for one loop, under an id that marks what the loop owns."""

    def __init__(self) -> None:
        self.id = str(uuid4())
        self._cursor = -1  # the account that was passed last; -1: nothing was claimed yet
        # Of accounts that were not passed whole, the webhook that was passed last. The ones next in turn come first.
        self._places: OrderedDict[int, str] = OrderedDict()
        self._steps = SCAN_STEPS
        self.start_round()

    def start_round(self) -> None:
        """Starts a round here: it is done once every webhook with something ready has been passed."""
        self._round_from, self._went_round = self._cursor, False
        self._laps: dict[
            int, str | None
        ] = {}  # where each account's webhooks began in this round; None: all were passed

    def claim(
        self,
        connection: Connection,
        rooms: Rooms,
        limit: int,
        *,
        limit_bytes: int = MAX_BYTES,
        allowed_bytes: int = MAX_BYTES,
        account_bytes: Mapping[int, int] | None = None,
        bytes_at_once: int = MAX_BYTES,
        circuit_breakers: bool = True,
    ) -> Claimed:
        """Claims due deliveries for up to `limit` requests, from each account and each webhook as many as `rooms`
        allows, and with messages of up to `limit_bytes`. Of these an account gets half, or what `account_bytes` says;
        none if that is not positive. A message that is larger than half of `allowed_bytes`, what a loop may hold in
        all, goes alone, when an account has that much. Of what an account may have, this claim takes `bytes_at_once` at
        most, but always the first message. With `circuit_breakers` False, open circuits hold nothing back."""
        if self._cursor < 0:  # loops start at different places
            self._cursor = self._round_from = int(connection.scalar(_ANY_ACCOUNT) or 0)
        limit, limit_bytes, bytes_of = min(limit, MAX_REQUESTS), min(limit_bytes, MAX_BYTES), account_bytes or {}
        # What is known to have no room takes none of the steps. It may have much due, so it is visited each time.
        without_room = sum(room.free <= 0 or rooms.classes.get(room.concurrency_class, 1) <= 0 for room in rooms.known)
        steps = min(self._steps + without_room, max(self._steps, MAX_SCAN_STEPS))
        known = sorted(rooms.known, key=itemgetter(0))  # the statement finds each by halves
        places = dict(islice(self._places.items(), 2 * steps))
        accounts = list({**places, **rooms.accounts, **bytes_of})
        crowded = bool(rooms.crowds) or rooms.destination_room < limit
        statement = CLAIM_READY_IN_CROWDS if crowded else CLAIM_READY
        rows = statement.execute(
            connection,
            {
                "limit": limit,
                "steps": steps,
                "cursor": self._cursor,
                "accounts": array(accounts),
                "places": array([places.get(account) for account in accounts]),
                "account_rooms": array([rooms.accounts.get(account) for account in accounts]),
                "lasting_rooms": array([rooms.lasting.get(account) for account in accounts]),
                "account_bytes": array([bytes_of.get(account) for account in accounts]),
                "account_room": rooms.account_room,
                "lasting_room": rooms.lasting_room,
                "bytes_of_one": limit_bytes // 2,
                "whole_part": min(allowed_bytes, MAX_BYTES) // 2,
                "bytes_at_once": bytes_at_once,
                "first_limit": rooms.first,
                "share": ROUND,
                "ids": array([room.webhook_id for room in known]),
                "rooms": array([room.free for room in known]),
                "classes": array([room.concurrency_class for room in known]),
                "class_rooms": array([rooms.classes.get(each, limit) for each in ConcurrencyClass]),
                **(_crowds(rooms) if crowded else {}),
                "messages": MAX_MESSAGES,
                "bytes": limit_bytes,
                # At random: a strict alternation falls into step with a webhook that is served every other time.
                "retries_first": random.random() < 0.5,  # noqa: S311
                "circuit_breakers": circuit_breakers,
                "me": self.id,
                "span": CLAIM,
            },
        ).all()
        head = rows[0]
        claims = read_claims([row[_HEAD:] for row in rows if row[_HEAD] is not None])
        full = {account for account, room in (*rooms.accounts.items(), *bytes_of.items()) if room <= 0}
        passed = next((_pairs(row.passed) for row in rows if row.passed), [])
        round_done = self._advance(head, passed, places, full, steps, found=bool(claims))
        return Claimed(
            _small_first(claims),
            round_done=round_done,
            full=bool(head.is_full),
            paced=head.paced > 0,
            ready=head.accounts > 0,
        )

    def claim_passing(self, connection: Connection, rooms: Rooms, limit: int) -> Sequence[Claim]:
        """Claims what passes an open circuit: for each a trial request when it is due, and what a person asked for.
        Nothing for a destination that has no room, nor for an account that has no more of its limit."""
        full = [crowd.destinations for crowd in rooms.crowds if crowd.free <= rooms.kept_for_proven]
        parameters = {
            "full": array([*chain(*full)]),
            "accounts": array(list(rooms.capped)),
            "account_rooms": array(list(rooms.capped.values())),
            "account_room": rooms.capped_room,
            "most": limit,
            "me": self.id,
            "span": CLAIM,
        }
        rows = CLAIM_PASSING.execute(connection, parameters).all()
        return read_claims(rows)

    def _advance(
        self,
        head: Any,
        passed: Sequence[tuple[int, str]],
        places: Mapping[int, str],
        full: Set[int],
        steps: int,
        *,
        found: bool,
    ) -> bool:
        """Notes what was passed, and where each account goes on. `places`: where they began. `full`: accounts without
        room. `steps`: how many webhooks the claim could visit. Returns whether a whole round is done, which can take
        several claims."""
        last = dict(passed)  # of each account, in the order of their turns
        all_accounts = head.accounts < steps
        if all_accounts and head.visited < steps and not head.is_full:
            kept = {account: place for account, place in self._places.items() if account in full}
            self._places = OrderedDict(kept | last)
            self._steps = SCAN_STEPS
            self.start_round()
            return True
        before = self._cursor
        if not all_accounts:
            self._cursor = next(reversed(last)) if head.is_full else head.last_account
        else:
            self._cursor = passed[-1][0]

        def is_gone(account: int) -> bool:
            """Whether its turn came, and there was nothing to visit."""
            turn_came = (all_accounts and not head.is_full) or _passes(before, self._cursor, account)
            return turn_came and account not in last

        for account in places.keys() - full:
            if is_gone(account):
                del self._places[account]
        for account, place in passed:
            self._places[account] = place
            self._places.move_to_end(account)
        while len(self._places) > MAX_PLACES:
            self._places.popitem(last=False)
        if found:
            self._steps = SCAN_STEPS
            self.start_round()
            return False
        self._steps = min(2 * self._steps, MAX_SCAN_STEPS)
        self._laps = {account: begun for account, begun in self._laps.items() if not is_gone(account)}
        for account, place in last.items():
            start = places.get(account, "")
            begun = self._laps.setdefault(account, start)
            if begun is not None and _passes(start, place, begun):
                self._laps[account] = None
        self._went_round |= all_accounts or _passes(before, self._cursor, self._round_from)
        return self._went_round and all(begun is None for begun in self._laps.values())


def _crowds(rooms: Rooms) -> dict[str, Any]:
    """What the statement needs of crowded destinations: which crowd each belongs to, and the rooms of each crowd."""
    numbered = list(enumerate(rooms.crowds, 1))
    crowd_of = sorted((destination, number) for number, crowd in numbered for destination in crowd.destinations)
    own = [(number, *account) for number, crowd in numbered for account in crowd.accounts.items()]
    return {
        "destinations": array([destination for destination, _ in crowd_of]),
        "crowds": array([number for _, number in crowd_of]),
        "crowds_free": array([crowd.free for crowd in rooms.crowds]),
        "crowd_rooms": array([crowd.account_room for crowd in rooms.crowds]),
        "own_crowds": array([number for number, _, _ in own]),
        "own_accounts": array([account for _, account, _ in own]),
        "own_rooms": array([room for _, _, room in own]),
        "destination_room": rooms.destination_room,
        "kept_for_proven": rooms.kept_for_proven,
    }


def _passes(start: Place, end: Place, point: Place) -> bool:
    """Whether the way round from `start` (not included) to `end` passes `point`."""
    return start < point <= end if start < end else point > start or point <= end


def _pairs(passed: str) -> list[tuple[int, str]]:
    """Accounts and webhooks, in the order in which they were visited."""
    pairs = (pair.split(" ") for pair in passed.split(","))
    return [(int(account), webhook) for account, webhook in pairs]


def read_claims(rows: Iterable[Sequence[Any]]) -> list[Claim]:
    """The claims in rows with the columns `statements.COLUMNS`."""
    return [
        Claim._make((*others, bytes(data), claimed_at, transaction, trace_id))
        for *others, data, claimed_at, transaction, trace_id in rows
    ]


def _small_first(claims: Sequence[Claim]) -> Sequence[Claim]:
    """The claims by how much their webhooks have: making, signing and sending a large body takes milliseconds, and
    small ones need not wait for it."""
    size: Counter[str] = Counter()
    for claim in claims:
        size[claim.webhook_id] += len(claim.data)
    return sorted(claims, key=lambda claim: size[claim.webhook_id])
