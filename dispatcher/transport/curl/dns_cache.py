"""The addresses of names for a transport that cannot wait: cached for a short time, looked up in threads if unknown."""

import heapq
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from typing import NamedTuple

from dispatcher.accounts.fair_turns import FairTurns, Turn
from dispatcher.transport.exchange import Failure, Request
from dispatcher.transport.failure_texts import NO_ADDRESS, NO_TURN
from dispatcher.transport.resolver import Address, DnsLookups, Name, literal_addresses, not_resolved

Refuse = Callable[[str, str, int], Failure | None]  # host, address, port

KEPT_SECONDS = 30.0  # a busy name is looked up twice a minute, not for every request
_MOST_KEPT = 10_000


class Resolved(NamedTuple):
    """Where a name leads: `entry` has its addresses, for curl's option RESOLVE; it is empty for a literal address.
    `address` is the first of them that may be called."""

    entry: str
    address: str


@dataclass(slots=True, eq=False)
class Waiting:
    """A request that waits for the addresses of its name. `begun_at` and `deadline` are monotonic seconds;
    `begun_at` is None until the lookup has started."""

    request: Request
    name: Name
    turn: Turn
    deadline: float
    begun_at: float | None = None


class Names:
    """Finds addresses with `lookups`, of which `refuse` says what may not be called. One thread owns it; other threads
    call `wake` when a lookup has ended.

    A name has to wait for its turn when too many are looked up at once; accounts take turns, and a name that several
    wait for takes the turn of the first that comes to it. The receiver does not cause that, so its time
    to connect begins only with the DNS lookup. If the turn does not come within the same time, the request fails, or
    requests behind names that hang would hold their claims for ever; the failure's detail says that we caused it.
    Names that hung before get at most half of their account's turns, so that they never take all of them again and
    again.
    """

    def __init__(self, lookups: DnsLookups, refuse: Refuse, wake: Callable[[], None]) -> None:
        self._dns_lookups, self._refuse, self._wake = lookups, refuse, wake
        self._kept: dict[Name, tuple[float, Resolved]] = {}
        self._waiting: dict[Name, list[Waiting]] = {}
        self._turns: FairTurns[Name] = FairTurns(lookups.at_once)
        self._running: dict[Name, Turn] = {}
        self._hung: set[Name] = set()
        self._done: deque[tuple[Name, Future[list[Address]]]] = deque()
        self._deadlines: list[tuple[float, int, Waiting]] = []
        self._numbers = count()

    def known(self, name: Name, now: float, *, anew: bool = False) -> Resolved | None:
        """Where a name leads; None if it must be looked up. With `anew` only a literal address is known."""
        kept = self._kept.get(name)
        if kept is not None and (kept[0] == inf if anew else now < kept[0]):
            return kept[1]
        literal = literal_addresses(*name) if kept is None else None
        return self._keep(name, inf, Resolved("", str(literal[0][1][0]))) if literal else None

    def ask(self, request: Request, name: Name, now: float) -> None:
        """Looks up a name for a request; `ended` returns the result."""
        turn = Turn(request.account, doubtful=name in self._hung)
        waiting = Waiting(request, name, turn, now + request.connect_timeout)
        self._waiting.setdefault(name, []).append(waiting)
        if name in self._running:
            self._begin(waiting, now)
            return
        heapq.heappush(self._deadlines, (waiting.deadline, next(self._numbers), waiting))
        self._turns.wait(turn, name)
        self._give_turns(now)

    @property
    def deadline(self) -> float:
        """When `ended` will have something to return at the latest, monotonic."""
        return self._deadlines[0][0] if self._deadlines else inf

    def ended(self, now: float) -> list[tuple[Waiting, Resolved | Failure]]:
        """The requests whose wait is over, with where their names lead or their failures."""
        ended: list[tuple[Waiting, Resolved | Failure]] = []
        while self._done:
            name, future = self._done.popleft()
            self._turns.end(self._running.pop(name))
            found = self._found(name, future, now)
            ended += [(waiting, found) for waiting in self._waiting.pop(name, ())]
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, waiting = heapq.heappop(self._deadlines)
            others = self._waiting.get(waiting.name, [])
            if waiting.deadline == deadline and waiting in others:
                ended.append((waiting, self._given_up(waiting, others)))
        self._give_turns(now)
        return ended

    def _give_turns(self, now: float) -> None:
        while (given := self._turns.take()) is not None:
            turn, name = given
            self._running[name] = turn
            for waiting in self._waiting[name]:
                self._turns.leave(waiting.turn, name)
                self._begin(waiting, now)
            self._dns_lookups.lookup(name).add_done_callback(partial(self._lookup_ended, name))

    def _begin(self, waiting: Waiting, now: float) -> None:
        waiting.begun_at = now
        waiting.deadline = now + min(waiting.request.connect_timeout, waiting.request.timeout)
        heapq.heappush(self._deadlines, (waiting.deadline, next(self._numbers), waiting))

    def _lookup_ended(self, name: Name, future: "Future[list[Address]]") -> None:
        self._done.append((name, future))  # runs in the thread that looked it up
        self._wake()

    def _found(self, name: Name, future: "Future[list[Address]]", now: float) -> Resolved | Failure:
        error = future.exception()
        if error is not None:
            return not_resolved(error)
        self._hung.discard(name)
        addresses = future.result()
        if not addresses:
            return NO_ADDRESS
        for _, address in addresses:
            refusal = self._refuse(name[0], *address[:2])
            if refusal is None:
                break
        else:
            # Not kept: how soon the next attempt fails would tell a name that exists from one that does not.
            assert refusal is not None
            return refusal
        return self._keep(name, now + KEPT_SECONDS, Resolved(_entry(name, addresses), str(address[0])))

    def _given_up(self, waiting: Waiting, others: list[Waiting]) -> Failure:
        others.remove(waiting)
        if not others:
            del self._waiting[waiting.name]
        if all(other.turn != waiting.turn for other in others):
            self._turns.leave(waiting.turn, waiting.name)
        if waiting.begun_at is None:
            return NO_TURN
        if len(self._hung) < _MOST_KEPT:
            self._hung.add(waiting.name)
        return not_resolved(TimeoutError())

    def _keep(self, name: Name, until: float, resolved: Resolved) -> Resolved:
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[name] = until, resolved
        return resolved


def _entry(name: Name, addresses: list[Address]) -> str:
    host, port = name
    texts = [f"[{text}]" if ":" in text else text for _, (text, *_) in addresses]
    # The plus makes the entry expire, like one that curl has looked up itself.
    return f"+{host}:{port}:{','.join(dict.fromkeys(texts))}"
