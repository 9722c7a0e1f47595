"""The client that waits while too much is open."""

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.follow import Stalled
from benchmarks.measures import flow

WORKER: Any = SimpleNamespace(check=lambda: None)


def test_no_request_goes_out_while_more_than_the_bound_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_BOUND", 10)
    delivered = [0]
    opened: list[int] = []

    def requests() -> int:  # one more each time somebody looks
        delivered[0] += 1
        return delivered[0]

    receiver: Any = SimpleNamespace(requests=requests)
    make = flow._bounded(lambda: b"request", receiver, WORKER, each=4)
    for sent in range(20):
        assert make() == b"request"
        opened.append(sent * 4 - delivered[0])
    assert max(opened) == 10


def test_a_worker_that_delivers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_BOUND", 10)
    monkeypatch.setattr(flow, "PATIENCE", 0.02)
    receiver: Any = SimpleNamespace(requests=lambda: 3)
    make = flow._bounded(lambda: b"request", receiver, WORKER, each=7)
    make()
    make()
    with pytest.raises(Stalled, match="3 of 14"):
        make()
