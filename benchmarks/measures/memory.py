"""The memory of an engine's processes, started together as on a small server."""

import time
from collections.abc import Mapping

from benchmarks.bench import Bench
from benchmarks.cpu import tree_mb
from benchmarks.engine import WORKER_NODES, Node, started, together, wait_until_ready
from benchmarks.follow import follow, wait_for
from benchmarks.measures.throughput import counted, nothing_open, wake
from benchmarks.stored import store_due
from benchmarks.targets import Sample
from dispatcher.embedded.readiness import answers
from dispatcher.embedded.servers.ports import preferred_port

_USUAL_PORT = 8080
_REST = 7.0  # seconds: beat has sent its first sweep, and every loop that it woke has ended


def memory(bench: Bench) -> Sample:
    """`<process>_mb`, with its children, and `all_mb`, with the process that started them: memory at rest, shared
    memory divided among those that share it; the same after deliveries, with `_after` in the names."""
    servers, count = bench.servers, bench.size.single
    fleet = bench.fleet([servers.instant.url()] * 50)
    bench.end_worker()
    bench.clear()
    port = preferred_port(_USUAL_PORT)
    with together(servers, port) as engine:
        wait_until_ready(engine, nodes=WORKER_NODES)
        wait_for(answers(port, "/healthz"), engine, within=60)
        processes = started(engine)
        time.sleep(_REST)
        at_rest = _memory(engine, processes)
        done = counted(servers.instant.requests)  # from here on, because a loop may look before it is told
        store_due(servers, fleet.ids, count)
        wake(servers)
        follow(servers, [engine], count, done=done, all_done=lambda: nothing_open(servers))
        time.sleep(_REST)
        return {**at_rest, **{f"{name}_after": value for name, value in _memory(engine, processes).items()}}


def _memory(engine: Node, processes: Mapping[str, int]) -> dict[str, float]:
    return {f"{name}_mb": tree_mb(pid) for name, pid in {**processes, "all": engine.pid}.items()}
