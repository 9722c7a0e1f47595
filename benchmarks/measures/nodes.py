"""Several deliver nodes beside each other."""

from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.engine import deliver_node, wait_until_ready
from benchmarks.follow import follow
from benchmarks.measures.throughput import counted, nothing_open, wake
from benchmarks.stored import store_due
from benchmarks.targets import Sample


def nodes(bench: Bench) -> Sample:
    """1, 2 and 4 deliver nodes of one child each, 50 webhooks: `rate_<nodes>` and CPU time of each part."""
    servers, count = bench.servers, bench.size.nodes
    fleet = bench.fleet([servers.instant.url()] * 50)
    figures: dict[str, float] = {}
    for number in (1, 2, 4):
        bench.end_worker()
        bench.clear()
        with ExitStack() as stack:
            running = [
                stack.enter_context(deliver_node(servers, children=1, name=f"deliver-{one}")) for one in range(number)
            ]
            wait_until_ready(*running)
            done = counted(servers.instant.requests)
            store_due(servers, fleet.ids, count)
            wake(servers)
            sample = follow(servers, running, count, done=done, all_done=lambda: nothing_open(servers))
        figures |= {f"{name}_{number}": value for name, value in sample.items()}
    return figures
