"""Following a contestant through its work."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import cpu
from benchmarks import follow as following
from benchmarks.follow import Stalled, follow, wait_for

SERVERS: Any = SimpleNamespace(parts={"receiver": (os.getpid(),)})
WORKER: Any = SimpleNamespace(pid=os.getpid(), check=lambda: None)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (following, cpu):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_the_time_of_starting_up_is_left_out(clock: Clock) -> None:
    def done() -> int:  # nothing for 0.6 s, then 1,000 a second up to 500
        return max(0, min(500, int((clock.now - 0.6) * 1_000)))

    sample = follow(SERVERS, [WORKER], 500, done=done)
    assert 950 < sample["rate"] < 1_050  # with the 0.6 s it would be 450
    assert sample.keys() == {"rate", "worker_us", "receiver_us", "child_mb"}


def test_the_time_of_recording_what_has_come_is_not_left_out(clock: Clock) -> None:
    def done() -> int:
        return min(500, int(clock.now * 1_000))

    sample = follow(SERVERS, [WORKER], 500, done=done, all_done=lambda: clock.now > 1.5)
    assert sample["rate"] < 400


def test_a_contestant_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE", 0.05)
    with pytest.raises(Stalled, match="stalled at 3 of 10"):
        follow(SERVERS, [WORKER], 10, done=lambda: 3)


def test_a_contestant_that_has_ended_is_reported_at_once() -> None:
    def ended() -> None:
        raise RuntimeError("it ended with status 1")

    with pytest.raises(RuntimeError, match="status 1"):
        follow(SERVERS, [SimpleNamespace(pid=1, check=ended)], 10, done=lambda: 0)  # type: ignore[list-item]


def test_waiting_ends_when_the_time_is_over() -> None:
    wait_for(lambda: True, WORKER, within=0)
    with pytest.raises(Stalled, match="within"):
        wait_for(lambda: False, WORKER, within=0.01)
