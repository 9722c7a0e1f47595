"""The memory of an engine's processes, started as on a server: API, deliver node, maintenance worker and beat."""

import time
from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.cpu import tree_mb
from benchmarks.engine import Node, api, beat, deliver_node, maintenance_worker, wait_until_ready
from benchmarks.follow import follow, wait_for
from benchmarks.measures.throughput import counted, nothing_open, wake
from benchmarks.stored import store_due
from benchmarks.targets import Sample
from dispatcher.embedded.readiness import answers
from dispatcher.embedded.servers.ports import preferred_port

_USUAL_PORT = 8080
_REST = 7.0  # seconds: beat has sent its first sweep, and every loop that it woke has ended


def memory(bench: Bench) -> Sample:
    """`<process>_mb` and their sum `all_mb`: memory at rest, shared memory divided among those that share it; the same
    after deliveries, with `_after` in the names."""
    servers, count = bench.servers, bench.size.single
    fleet = bench.fleet([servers.instant.url()] * 50)
    bench.end_worker()
    bench.clear()
    port = preferred_port(_USUAL_PORT)
    with ExitStack() as stack:
        nodes = {
            "api": stack.enter_context(api(servers, port)),
            "deliver": stack.enter_context(deliver_node(servers)),
            "maintenance": stack.enter_context(maintenance_worker(servers)),
            "beat": stack.enter_context(beat(servers)),
        }
        wait_until_ready(nodes["deliver"], nodes["maintenance"])
        wait_for(answers(port, "/healthz"), nodes["api"], within=60)
        time.sleep(_REST)
        at_rest = _memory(nodes)
        done = counted(servers.instant.requests)
        store_due(servers, fleet.ids, count)
        wake(servers)
        follow(servers, [nodes["deliver"]], count, done=done, all_done=lambda: nothing_open(servers))
        time.sleep(_REST)
        return {**at_rest, **{f"{name}_after": value for name, value in _memory(nodes).items()}}


def _memory(nodes: dict[str, Node]) -> dict[str, float]:
    found = {f"{name}_mb": tree_mb(node.pid) for name, node in nodes.items()}
    return {**found, "all_mb": sum(found.values())}
