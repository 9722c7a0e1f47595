"""Every order in which producers and parked loops can take their steps: nothing committed is left without being told.

The broker and the database are models; the waker, the bell and the pace are the real ones. Looks without a ring are
left out, so whatever is missed stays missed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from math import inf
from typing import Any

import pytest

from dispatcher.wake import BELL, DELIVER, PARKED, QUEUES, Waker
from workers.bell import SLICE, Bell
from workers.claims.claims import Claimed
from workers.claims.pace import Pace

Words = tuple[Any, ...]


class Broker:
    """Lists, keys, and connections that wait for a list, longest first. Keys do not expire by themselves."""

    def __init__(self) -> None:
        self.lists: dict[str, list[str]] = {BELL: [], QUEUES[DELIVER]: []}
        self.keys: dict[str, str] = {}
        self.waiting: list[Connection] = []

    def push(self, name: str) -> None:
        self.lists[name].append("")
        self.serve()

    def serve(self) -> None:
        for connection in list(self.waiting):
            for name, held in self.lists.items():
                if held:
                    held.pop(0)
                    self.waiting.remove(connection)
                    connection.answers.append([name.encode(), b""])
                    break


class Connection:
    """What the bell needs of a connection."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.answers: list[Any] = []

    def connect(self) -> None:
        pass

    def disconnect(self) -> None:
        if self in self._broker.waiting:
            self._broker.waiting.remove(self)

    def pack_commands(self, commands: list[Words]) -> list[Words]:
        return commands

    def send_packed_command(self, commands: list[Words], check_health: bool) -> None:
        assert not check_health
        for command, *words in commands:
            match command:
                case "SET":
                    self._broker.keys[words[0]] = words[1]
                    self.answers.append(b"OK")
                case "DEL":
                    self._broker.keys.pop(words[0], None)
                    self.answers.append(1)
                case "BLPOP":
                    self._broker.waiting.append(self)
                    self._broker.serve()

    def can_read(self, _seconds: float) -> bool:
        return bool(self.answers)

    def read_response(self) -> Any:
        return self.answers.pop(0)

    def end_slice(self) -> None:
        """The pop has lasted its time."""
        if self in self._broker.waiting:
            self._broker.waiting.remove(self)
            self.answers.append(None)


class Pipeline:
    """Commands of a client, one after the other."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._found = broker, 0

    def rpush(self, name: str, _value: str) -> None:
        self._broker.push(name)

    def ltrim(self, name: str, _first: int, last: int) -> None:
        del self._broker.lists[name][last + 1 :]

    def exists(self, name: str) -> None:
        self._found = int(name in self._broker.keys)

    def delete(self, name: str) -> None:
        self._broker.keys.pop(name, None)

    def execute(self) -> list[int]:
        return [self._found]

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Client:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def pipeline(self, transaction: bool) -> Pipeline:
        assert not transaction
        return Pipeline(self._broker)

    def set(self, name: str, value: str, px: int, nx: bool) -> bool:
        assert px > 0
        if nx and name in self._broker.keys:
            return False
        self._broker.keys[name] = value
        return True


class ModelWaker(Waker):
    """The real one, on the model of a broker."""

    def __init__(self, broker: Broker) -> None:
        super().__init__("redis://")
        self._broker = broker

    @contextmanager
    def _client(self) -> Iterator[Any]:
        yield Client(self._broker)

    def _send(self, *_: object, **__: object) -> bool:
        self._broker.push(QUEUES[DELIVER])
        return True

    def connection(self) -> Any:
        return Connection(self._broker)


class Loop:
    """Steps of a parked loop in the order in which `workers/loop.py` takes them, over rows of a model."""

    def __init__(self, rows: dict[int, str], waker: ModelWaker) -> None:
        self._rows, self.bell, self._pace = rows, Bell(waker), Pace()
        self._pace.look_every = inf
        self._now = 0.0
        self._seen: set[int] | None = None
        self._steps = self._turns()

    def step(self) -> None:
        next(self._steps)

    def _turns(self) -> Iterator[None]:
        while True:
            self._now += SLICE / 10
            if self._pace.may_claim(0, self._now):
                seen = [row for row, state in self._rows.items() if state == "ready"]  # the statement's snapshot
                yield
                for row in seen:
                    if self._rows[row] == "ready":
                        self._rows[row] = "claimed"
                claimed = Claimed((), round_done=True, full=False, ready=bool(seen))
                self._pace.claimed(claimed, len(seen), in_flight=0, waits_long=0, took=0.0, now=self._now)
            self.bell.listen(self._now, self._now)
            yield
            if self.bell.rang():
                self._pace.told(self._now)
                self._pace.looks_at_passing(inf)


def producer(number: int, rows: dict[int, str], waker: ModelWaker) -> Iterator[None]:
    rows[number] = "ready"
    yield
    waker.wake()
    yield


def orders(turns: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every order in which several can take so many steps each. Of neighbours with as many steps, which are alike, the
    first one begins: the order with the two exchanged is the same."""
    if len(turns) == 1:
        yield (0,) * turns[0]
        return
    rest = len(turns) - 1
    for shorter in orders(turns[:-1]):
        for places in combinations(range(len(shorter) + turns[-1]), turns[-1]):
            others = iter(shorter)
            order = tuple(rest if place in places else next(others) for place in range(len(shorter) + turns[-1]))
            if turns[-1] != turns[-2] or order.index(rest - 1) < order.index(rest):
                yield order


def run(order: tuple[int, ...], loops: int, *, slices_end: bool) -> tuple[dict[int, str], Broker]:
    """Two producers, and so many loops after them in the order's numbers. In the end all loops go on for a while."""
    broker, rows = Broker(), dict[int, str]()
    made = [Loop(rows, ModelWaker(broker)) for _ in range(loops)]
    producers = [producer(number, rows, ModelWaker(broker)) for number in range(2)]
    for one in order:
        if one < len(producers):
            next(producers[one])
        else:
            made[one - len(producers)].step()
            if slices_end:
                for connection in list(broker.waiting):
                    connection.end_slice()
    for _ in range(12):
        for loop in made:
            loop.step()
    return rows, broker


@pytest.mark.parametrize("slices_end", [False, True])
@pytest.mark.parametrize("turns", [(2, 2, 8), (2, 2, 3, 3)], ids=["one loop", "two loops"])
def test_in_every_order_everything_committed_is_claimed_and_no_message_is_left(
    turns: tuple[int, ...], slices_end: bool
) -> None:
    checked = 0
    for order in orders(turns):
        rows, broker = run(order, len(turns) - 2, slices_end=slices_end)
        assert set(rows.values()) == {"claimed"}, order
        assert (broker.lists[QUEUES[DELIVER]], PARKED in broker.keys) == ([], True), order
        checked += 1
    assert checked > 1_400


def test_rings_that_nobody_took_are_one() -> None:
    broker = Broker()
    for _ in range(5):
        ModelWaker(broker).wake()
    assert broker.lists[BELL] == [""]
