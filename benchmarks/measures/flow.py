"""Events that come over HTTP while others are delivered: the API and a deliver node share the machine.

Where a bound is named, so many deliveries at most are open: the client waits while there are more. Then as many events
come as are delivered, and the rate is one that could go on.
"""

import time
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.cpu import Look, Parts, look, window
from benchmarks.engine import Node
from benchmarks.follow import PATIENCE, Stalled, wait_for
from benchmarks.http_client import post
from benchmarks.measures.http import Served, batches, events, serving
from benchmarks.measures.throughput import LOOPS_END, delivered_rows, nothing_open
from benchmarks.receivers import Receiver
from benchmarks.targets import Sample
from benchmarks.workload import ALL, Fleet

_BOUND = 5_000
_WARM_UP = 1.0
_FIRST = 0.3  # seconds of events before the measured ones, where these begin with nothing open


def fan_out(bench: Bench) -> Sample:
    """Single events over HTTP, 8 connections, 50 webhooks take each; at most 5,000 deliveries open: `rate` of
    deliveries, and CPU time of each part."""
    fleet = bench.fleet([bench.servers.receiver.url()] * 50)
    return _flow(bench, fleet, lambda token: events(token, event_type=ALL), connections=8, each=50)


def both_at_once(bench: Bench) -> Sample:
    """Batches of 100 events over HTTP, 2 connections, 50 webhooks take an event in turn; at most 5,000 deliveries open:
    the same figures."""
    fleet = bench.fleet([bench.servers.receiver.url()] * 50)
    types = [f"bench.w{number}" for number in range(50)]
    return _flow(bench, fleet, lambda token: batches(token, types), connections=2, each=100)


def end_to_end(bench: Bench) -> Sample:
    """Single events over HTTP, 8 connections, one webhook, no bound: `rate` from the first request until the receiver
    has the last event; `accepted` a second, while they came."""
    servers, receiver = bench.servers, bench.servers.receiver
    fleet = bench.fleet([receiver.url()])
    bench.clear()
    worker = bench.worker()
    with serving(bench, fleet) as served:
        _post(served, events(served.token), 8, _FIRST)
        wait_for(lambda: nothing_open(servers), worker, within=60)
        before, parts = receiver.requests(), _parts(bench, served, worker)
        first = look(parts, 0)
        answers = post(
            served.ports, events(served.token), connections=8, seconds=bench.size.seconds, warm_up=0, begun=lambda: None
        )
        wait_for(lambda: receiver.requests() - before >= answers.accepted, worker, within=60)
        took = receiver.counts("ok").last_at - first.at
        wait_for(lambda: nothing_open(servers), worker, within=60)
        figures = window(first, look(parts, answers.accepted))
    _check(bench, fleet, receiver)
    return {**figures, "rate": answers.accepted / took, "accepted": answers.count / answers.seconds}


def _flow(
    bench: Bench, fleet: Fleet, requests: Callable[[str], Callable[[], bytes]], *, connections: int, each: int
) -> Sample:
    servers, receiver = bench.servers, bench.servers.receiver
    bench.clear()
    worker = bench.worker()
    looks: list[Look] = []
    with serving(bench, fleet) as served:
        parts = _parts(bench, served, worker)
        answers = post(
            served.ports,
            _bounded(requests(served.token), receiver, worker, each),
            connections=connections,
            seconds=bench.size.seconds,
            warm_up=_WARM_UP,
            begun=lambda: looks.append(look(parts, receiver.requests())),
            ended=lambda: looks.append(look(parts, receiver.requests())),
        )
        wait_for(lambda: receiver.requests() >= answers.accepted * each, worker, within=60)
        wait_for(lambda: nothing_open(servers), worker, within=60)
    _check(bench, fleet, receiver)
    return window(*looks)


def _bounded(make: Callable[[], bytes], receiver: Receiver, worker: Node, each: int) -> Callable[[], bytes]:
    """`make`, which first waits until the bound allows another request."""
    sent = 0

    def bounded() -> bytes:
        nonlocal sent
        gives_up_at = time.monotonic() + PATIENCE
        while sent * each - receiver.requests() > _BOUND:
            time.sleep(0.001)
            if time.monotonic() > gives_up_at:
                worker.check()
                raise Stalled(f"{receiver.requests()} of {sent * each} were delivered")
        sent += 1
        return make()

    return bounded


def _post(served: Served, make: Callable[[], bytes], connections: int, seconds: float) -> None:
    post(served.ports, make, connections=connections, seconds=seconds, warm_up=0, begun=lambda: None)


def _parts(bench: Bench, served: Served, worker: Node) -> Parts:
    return {"worker": (worker.pid,), **bench.servers.parts, "api": served.pids}


def _check(bench: Bench, fleet: Fleet, receiver: Receiver) -> None:
    """Raises RuntimeError if what the receiver got and what is recorded differ."""
    recorded = delivered_rows(bench.servers, fleet)
    if recorded != receiver.requests():
        raise RuntimeError(f"{receiver.requests()} arrived, {recorded} were recorded")
    time.sleep(LOOPS_END)
