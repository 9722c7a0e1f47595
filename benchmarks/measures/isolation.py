"""The cost of slow and dead receivers for the healthy webhooks beside them."""

import time
from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.follow import wait_for
from benchmarks.measures.throughput import LOOPS_END, wake
from benchmarks.receivers import Receiver
from benchmarks.servers import Servers
from benchmarks.stored import store_due
from benchmarks.targets import Sample
from benchmarks.workload import Fleet, message
from dispatcher import enqueue_many
from dispatcher.producer import Producer

FRESH_A_SECOND = 400  # events per second for the healthy webhooks: far below what the engine can do
SETTLED = 3.0  # seconds until the slow webhook has the most requests in flight
WARM = 12.0  # seconds of events before those that are measured, where answers take 3 s
_STEP = 0.05


def dead_tenth(bench: Bench) -> Sample:
    """Every tenth of 50 webhooks never answers."""
    return _until_last_healthy(bench, 50, bench.size.dead_tenth, dead=True)


def no_dead_tenth(bench: Bench) -> Sample:
    """The same events for the healthy webhooks only."""
    return _until_last_healthy(bench, 50, bench.size.dead_tenth, dead=False)


def dead_thousand(bench: Bench) -> Sample:
    """Every tenth of 10,000 webhooks never answers."""
    return _until_last_healthy(bench, 10_000, bench.size.dead_thousand, dead=True)


def no_dead_thousand(bench: Bench) -> Sample:
    return _until_last_healthy(bench, 10_000, bench.size.dead_thousand, dead=False)


def beside_slow(bench: Bench) -> Sample:
    """Delays of 200 healthy webhooks while one other has a large backlog and answers after a second."""
    return _fresh_delays(bench, ["sleep?ms=1000"], bench.size.slow_backlog)


def beside_none(bench: Bench) -> Sample:
    return _fresh_delays(bench, [], 0)


def beside_hundred_slow(bench: Bench) -> Sample:
    """Delays of 200 healthy webhooks, some time after the start, while a hundred others have a backlog and answer after
    3 s."""
    return _fresh_delays(bench, ["sleep?ms=3000"] * 100, bench.size.slow_backlog, warm=WARM)


def beside_none_warm(bench: Bench) -> Sample:
    return _fresh_delays(bench, [], 0, warm=WARM)


def slow_alone(bench: Bench) -> Sample:
    """One webhook whose receiver answers after 3 s, and nothing else: requests a second after half a minute and after
    a whole one."""
    servers, receiver = bench.servers, bench.servers.receiver
    slow = bench.fleet([receiver.url("sleep?ms=3000")])
    bench.clear()
    worker = bench.worker()
    store_due(servers, slow.ids, bench.size.slow_alone)
    wake(servers)
    wait_for(lambda: receiver.counts("sleep").requests > 0, worker, within=10)
    began = receiver.counts("sleep").first_at
    sample = {f"rate_after_{after}_s": _rate(receiver, began + after) for after in (30, 60)}
    bench.end_worker()
    return sample


def _rate(receiver: Receiver, start: float) -> float:
    """Requests a second in the 6 seconds from `start`."""
    time.sleep(max(0, start - time.monotonic()))
    before, began = receiver.counts("sleep").requests, time.monotonic()
    time.sleep(6)
    return (receiver.counts("sleep").requests - before) / (time.monotonic() - began)


def _until_last_healthy(bench: Bench, webhooks: int, events: int, *, dead: bool) -> Sample:
    """`last_s`: seconds from the very first request to the last one for a healthy webhook."""
    servers, receiver = bench.servers, bench.servers.receiver
    every = bench.fleet([receiver.url("hang" if n % 10 == 0 else "ok") for n in range(webhooks)])
    healthy = events - -(-events // 10)  # event n goes to webhook n, in turn
    bench.clear()
    worker = bench.worker()
    if dead:
        store_due(servers, every.ids, events)
    else:
        store_due(servers, [one for n, one in enumerate(every.ids) if n % 10], healthy)
    wake(servers)
    wait_for(lambda: receiver.counts("ok").requests >= healthy, worker, within=180)
    if dead:
        bench.end_worker()  # hanging requests would delay the next measure
    ok, hang = receiver.counts("ok"), receiver.counts("hang")
    began = min(first for first in (ok.first_at, hang.first_at) if first)
    return {"last_s": ok.last_at - began, "dead_requests": float(hang.requests)}


def _fresh_delays(bench: Bench, slow: Sequence[str], backlog: int, *, warm: float = 0) -> Sample:
    """The delays beside webhooks with the paths `slow`, which have a backlog."""
    servers, receiver = bench.servers, bench.servers.receiver
    bench.clear()
    bench.worker()
    if slow:
        store_due(servers, bench.fleet([receiver.url(path) for path in slow]).ids, backlog)
        wake(servers)
        time.sleep(SETTLED)
    sample = steady_delays(bench, bench.size.seconds, warm=warm)
    if slow:
        bench.end_worker()
    return sample


def steady_delays(bench: Bench, seconds: float, *, warm: float = 0) -> Sample:
    """`p50_ms` and `p99_ms` of the delay from the commit of an event to the start of its request, for an account with
    200 healthy webhooks and a steady rate of events that began `warm` seconds before."""
    servers, receiver = bench.servers, bench.servers.receiver
    healthy = bench.fleet([receiver.url()] * 200)
    worker, before = bench.worker(), receiver.counts("ok").requests
    count = _enqueue_steadily(servers.installation, healthy, warm)
    since = servers.scalar("SELECT now()")
    count += _enqueue_steadily(servers.installation, healthy, seconds)
    wait_for(lambda: receiver.counts("ok").requests - before >= count, worker, within=60)
    time.sleep(LOOPS_END)  # the last group is recorded
    return _delays(servers, healthy, since)


def _enqueue_steadily(producer: Producer, fleet: Fleet, seconds: float) -> int:
    data, began, count = message(), time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        wanted = int(passed * FRESH_A_SECOND)
        events = (fleet.event(number, data) for number in range(count, wanted))
        for _ in enqueue_many(events, producer=producer):
            pass
        count = wanted
        time.sleep(_STEP)
    return count


def _delays(servers: Servers, fleet: Fleet, since: object) -> Sample:
    p50, p99 = (
        float(
            str(
                servers.scalar(
                    "SELECT percentile_cont(:share) WITHIN GROUP (ORDER BY extract(epoch FROM r.started_at - d.due_at))"
                    " FROM dispatcher.deliveries d JOIN dispatcher.attempts a ON a.delivery_id = d.id"
                    " JOIN dispatcher.requests r ON r.id = a.request_id WHERE d.webhook_id = ANY(:ids)"
                    " AND d.due_at >= :since",
                    share=share,
                    ids=list(fleet.ids),
                    since=since,
                )
            )
        )
        for share in (0.5, 0.99)
    )
    return {"p50_ms": p50 * 1000, "p99_ms": p99 * 1000}
