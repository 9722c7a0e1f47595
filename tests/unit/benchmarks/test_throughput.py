"""What is counted of a backlog."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.measures import throughput


def test_what_a_parked_loop_delivers_while_the_backlog_is_stored_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, recorded, seen = [7], [0], list[int]()

    def store(_servers: Any, _ids: Any, count: int) -> None:
        arrived[0] += 400
        recorded[0] += count

    def follow(_servers: Any, _workers: Any, _total: int, *, done: Callable[[], int], all_done: object) -> Any:
        seen.append(done())
        return {"rate": 1.0}

    for name, fake in {
        "store_due": store,
        "follow": follow,
        "wake": lambda _servers: None,
        "delivered_rows": lambda _servers, _fleet: recorded[0],
        "LOOPS_END": 0,
    }.items():
        monkeypatch.setattr(throughput, name, fake)
    monkeypatch.setattr(throughput.product, "switched_on", lambda _database, _settings: {})
    servers = SimpleNamespace(instant=SimpleNamespace(requests=lambda: arrived[0]), database=None, settings=None)
    bench: Any = SimpleNamespace(servers=servers, clear=lambda: None, worker=lambda _env: None, facts={})
    fleet: Any = SimpleNamespace(ids=())
    assert throughput.engine(bench, fleet, 1_000) == {"rate": 1.0}
    assert seen == [400]
