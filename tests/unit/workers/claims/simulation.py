"""Concurrency limits in a simulated installation: one loop that claims as the real one does, and receivers that answer
after a time or never. No clock, no I/O: a minute takes a fraction of a second."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, cycle, zip_longest
from math import inf

from workers.claims.concurrency import MAX_REQUESTS, ConcurrencyClass, ConcurrencyLimits, Room

STEP = 0.02  # seconds from one claim to the next
TIMEOUT = 30.0  # seconds after which a request without an answer has failed
RETRY = 60.0  # seconds after which a failed one is due again

Receiver = Callable[[float, int], float]  # when a request comes, and how many it has already -> seconds to the answer


def answering(seconds: float) -> Receiver:
    """Answers after about this time: at the same time only what came at the same time."""
    times = cycle(seconds * (0.9 + 0.2 * (n * 0.618034 % 1)) for n in range(97))
    return lambda _, __: next(times)


def hanging(since: float = 0.0, before: float = 0.0) -> Receiver:
    """Never answers; before `since` it answers after `before` seconds."""
    return lambda now, _: before if now < since else inf


def answering_few(seconds: float, at_once: int) -> Receiver:
    """Handles `at_once` requests at once; others wait for their turn."""
    return lambda _, already: seconds * (1 + already // at_once)


@dataclass(slots=True)
class Webhook:
    """A webhook with what is due for it from the start (`backlog`), and the times of its later events."""

    receiver: Receiver
    account_no: int = 1
    backlog: int = 0
    events: Sequence[float] = ()
    due: deque[float] = field(default_factory=deque)  # since when
    in_flight: int = 0
    most: int = 0  # in flight at once
    answered: list[float] = field(default_factory=list)  # when
    waited: list[float] = field(default_factory=list)  # seconds from due to sent

    def rate(self, start: float, end: float) -> float:
        """Answers per second between two times."""
        return sum(start <= at < end for at in self.answered) / (end - start)


class Installation:
    """One loop with `slots`, which sends at most `pace` requests a second, and its webhooks."""

    def __init__(self, webhooks: Sequence[Webhook], *, slots: int, pace: float = 10_000) -> None:
        self.limits = ConcurrencyLimits(slots)
        self.now, self._steps = 0.0, 1
        self._slots, self._pace = slots, pace
        self._webhooks = {str(number): webhook for number, webhook in enumerate(webhooks)}
        self._numbers = count()  # of what is in the heap: equal times never compare further
        self._ahead: list[tuple[float, int, str, float | None]] = []  # the time of an event, or the end of a request
        for name, webhook in self._webhooks.items():
            webhook.due.extend([0.0] * webhook.backlog)
            for at in webhook.events:
                self._plan(at, name, None)
        self._served: Counter[str | int] = Counter()  # when a webhook or account was served last, in steps

    @property
    def in_flight(self) -> int:
        return self.limits.in_flight

    def run(self, until: float) -> None:
        while self.now < until:
            self._come()
            self._claim()
            self._steps += 1
            self.now = self._steps * STEP

    def _plan(self, at: float, name: str, seconds: float | None) -> None:
        heapq.heappush(self._ahead, (at, next(self._numbers), name, seconds))

    def _come(self) -> None:
        """What has happened since the last step."""
        ended = 0
        while self._ahead and self._ahead[0][0] <= self.now:
            at, _, name, seconds = heapq.heappop(self._ahead)
            webhook = self._webhooks[name]
            if seconds is None:
                webhook.due.append(at)
                continue
            ended += 1
            webhook.in_flight -= 1
            failed = seconds >= TIMEOUT
            self.limits.ended(name, failed=failed, duration=timedelta(seconds=seconds), now=self.now)
            if failed:
                self._plan(at + RETRY, name, None)
            else:
                webhook.answered.append(at)
        self.limits.seen(ended, self.now)

    def _claim(self) -> None:
        """As the claim's statement: account by account, in each webhook by webhook, breadth first."""
        free = min(self._slots - self.in_flight, MAX_REQUESTS, int(self._pace * STEP))
        if free <= 0 or not any(webhook.due for webhook in self._webhooks.values()):
            return
        rooms = self.limits.rooms(self.now)
        known = {room.webhook_id: room for room in rooms.known}
        classes, accounts, lasting = dict(rooms.classes), dict(rooms.accounts), dict(rooms.lasting)
        for name, webhook in self._in_turn():
            account_no = webhook.account_no
            room = known.get(name) or Room(name, rooms.first, ConcurrencyClass.NEW)
            left = accounts.setdefault(account_no, rooms.account_room)
            if room.concurrency_class is not ConcurrencyClass.PROVEN:
                left = min(left, lasting.setdefault(account_no, rooms.lasting_room))
            taken = min(len(webhook.due), room.free, left, classes[room.concurrency_class], free)
            classes[room.concurrency_class] -= taken
            accounts[account_no] -= taken
            if room.concurrency_class is not ConcurrencyClass.PROVEN:
                lasting[account_no] -= taken
            free -= taken
            if taken:
                self._served[name] = self._served[account_no] = self._steps
                self._send(name, webhook, taken)
            if free <= 0:
                return

    def _in_turn(self) -> Iterator[tuple[str, Webhook]]:
        """What has something due: the accounts served longest ago first, and of each the webhooks served longest
        ago."""
        by_account: dict[int, list[str]] = {}
        for name in sorted(
            (name for name, webhook in self._webhooks.items() if webhook.due), key=self._served.__getitem__
        ):
            by_account.setdefault(self._webhooks[name].account_no, []).append(name)
        accounts = sorted(by_account, key=self._served.__getitem__)
        for one_of_each in zip_longest(*(by_account[account_no] for account_no in accounts)):
            yield from ((name, self._webhooks[name]) for name in one_of_each if name is not None)

    def _send(self, name: str, webhook: Webhook, requests: int) -> None:
        for _ in range(requests):
            webhook.waited.append(self.now - webhook.due.popleft())
            seconds = min(webhook.receiver(self.now, webhook.in_flight), TIMEOUT)
            self.limits.sent(name, webhook.account_no, self.now, int(name))
            self._plan(self.now + seconds, name, seconds)
            webhook.in_flight += 1
            webhook.most = max(webhook.most, webhook.in_flight)
