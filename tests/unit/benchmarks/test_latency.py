"""Delays from calls and arrivals."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.measures import latency


def servers(arrivals: list[float]) -> Any:
    receiver = SimpleNamespace(arrivals=lambda count: arrivals[:count], forget=lambda: None)
    return SimpleNamespace(receiver=receiver)


def test_delays_count_from_each_events_own_commit_and_call_without_the_first() -> None:
    times = [(0.0, 9.0, 9.0), (10.0, 10.25, 10.5), (20.0, 20.5, 21.0), (30.0, 31.0, 32.0)]
    calls = [latency._Made(*one) for one in times]
    found = latency._figures(servers([9.5, 11.0, 20.75, 34.0]), calls, skipped=1)
    assert found == {"p50_ms": 750, "p99_ms": 3000, "call_p50_ms": 1000}


@pytest.mark.parametrize(("committed", "counts_from_begin"), [(1.5, False), (None, True)])
def test_a_call_counts_from_its_commit_if_that_is_seen(committed: float | None, counts_from_begin: bool) -> None:
    made = latency._made(lambda _numbers: committed, [1])
    assert made.began <= made.returned
    assert made.counts_from == (made.began if counts_from_begin else committed)


def test_an_event_that_the_receiver_knows_no_number_of_is_not_passed_over() -> None:
    with pytest.raises(RuntimeError, match="without its number"):
        latency._figures(servers([1.0, 0.0]), [latency._Made(0.0, 0.0, 0.1)] * 2, skipped=0)


def test_events_of_a_rate_come_in_turn_from_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = [0.0] * 400
    monkeypatch.setattr(latency, "_wait_until_delivered", lambda _bench, _count: None)
    monkeypatch.setattr(latency, "_WARM_UP", 0.1)
    monkeypatch.setattr(latency, "_KEPT", 0)
    by_thread: list[list[int]] = [[], []]

    def of(thread: int) -> latency.Call:
        def call(numbers: Sequence[int]) -> None:
            by_thread[thread] += numbers
            for number in numbers:
                arrivals[number] = time.monotonic()

        return call

    bench: Any = SimpleNamespace(servers=servers(arrivals), size=SimpleNamespace(seconds=0.1))
    found = latency._steady(bench, [of(0), of(1)], 1_000, name="_1000", each=10)
    assert found.keys() == {"p50_ms_1000", "p99_ms_1000", "call_p50_ms_1000"}
    assert by_thread[0][:11] == [*range(10), 20]
    assert by_thread[1][:11] == [*range(10, 20), 30]
    assert sorted(by_thread[0] + by_thread[1]) == list(range(200))


def test_a_rate_that_the_callers_cannot_keep_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_WARM_UP", 0)
    bench: Any = SimpleNamespace(servers=servers([]), size=SimpleNamespace(seconds=0.02))
    with pytest.raises(RuntimeError, match="instead of 200"):
        latency._steady(bench, [lambda _numbers: time.sleep(0.02)], 200, name="_200")
