"""A webhook that is dead for a while: the requests it gets meanwhile, and how fast its backlog drains afterwards."""

import time
from itertools import accumulate

from benchmarks.bench import Bench
from benchmarks.engine import beat, deliver_node, maintenance_worker
from benchmarks.follow import wait_for
from benchmarks.measures.throughput import nothing_open, wake
from benchmarks.stored import store_due
from benchmarks.targets import Sample
from schedules.catalog import DEFAULT

SCALE = 0.003  # the schedule's 90 s, 3, 6, 12, 15 min are 0.27, 0.54, 1.08, 2.16, 2.7 s
# Requests are counted for `_FOR` seconds, from `_FROM` seconds after the circuit opens, when nothing is in flight any
# more. Both bounds are far from the beginning of a step.
_FROM, _FOR = 0.54, 2.43


def circuit_breaker(bench: Bench) -> Sample:
    """`attempts_per_step`: requests while the circuit is open, per step of the schedule that began; `drain_rate`:
    deliveries per second from the first success on."""
    servers, receiver, count = bench.servers, bench.servers.receiver, bench.size.behind_circuit_breaker
    fleet = bench.fleet([receiver.url("switch")])
    bench.end_worker()
    bench.clear()
    store_due(servers, fleet.ids, count)
    wake(servers)
    env = {"DISPATCHER_TIME_SCALE": str(SCALE)}
    with maintenance_worker(servers, env), beat(servers, env), deliver_node(servers, env) as worker:
        opened = (
            "SELECT EXISTS (SELECT 1 FROM dispatcher.circuit_breakers WHERE webhook_id = :id AND opened_at IS NOT NULL)"
        )
        wait_for(lambda: bool(servers.scalar(opened, id=fleet.ids[0])), worker, within=60)
        time.sleep(_FROM)
        before = receiver.counts("switch").requests
        time.sleep(_FOR)
        attempts = receiver.counts("switch").requests - before
        if not attempts:
            raise RuntimeError("no trial request was made while the circuit was open")
        receiver.turn(on=True)
        refused = receiver.counts("switch").requests
        wait_for(lambda: receiver.counts("switch").requests > refused, worker, within=60)
        began, first = time.monotonic(), receiver.counts("switch").requests
        wait_for(lambda: nothing_open(servers), worker, within=300)
        drained = count - (first - refused)
        return {
            "attempts_per_step": attempts / (steps_within(_FROM + _FOR) - steps_within(_FROM)),
            "drain_rate": drained / (receiver.counts("switch").last_at - began),
        }


def steps_within(seconds: float) -> int:
    """How many steps of the schedule, in shortened time, begin within `seconds` after a failure."""
    starts = accumulate(delay.total_seconds() * SCALE for delay in DEFAULT.delays)
    return sum(1 for start in starts if start <= seconds)
