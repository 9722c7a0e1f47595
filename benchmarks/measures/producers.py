"""The producer's side: enqueueing, and the time until a receiver gets a single event."""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench
from benchmarks.follow import Stalled
from benchmarks.measures.throughput import nothing_open
from benchmarks.targets import Sample, percentile
from benchmarks.workload import message
from dispatcher import enqueue, enqueue_many

_PAUSE = 0.05


def enqueue_one(bench: Bench) -> Sample:
    """One call, one commit."""
    producer = bench.servers.installation
    fleet, data = bench.fleet([bench.servers.receiver.url()]), message()
    bench.end_worker()  # measure the producer alone
    bench.clear()
    enqueue("bench.w0", data, account=fleet.account, producer=producer)  # connects
    began = time.monotonic()
    for _ in range(bench.size.calls):
        enqueue("bench.w0", data, account=fleet.account, producer=producer)
    return {"rate": bench.size.calls / (time.monotonic() - began)}


def enqueue_threads(bench: Bench) -> Sample:
    """`enqueue` from 1, 4 and 16 threads of one process: `rate_<threads>`."""
    producer = bench.servers.installation
    fleet, data = bench.fleet([bench.servers.receiver.url()]), message()
    bench.end_worker()
    bench.clear()

    def call(until: float) -> int:
        calls = 0
        while time.monotonic() < until:
            enqueue("bench.w0", data, account=fleet.account, producer=producer)
            calls += 1
        return calls

    figures = {}
    for threads in (1, 4, 16):
        with ThreadPoolExecutor(threads) as pool:
            began = time.monotonic()
            calls = sum(pool.map(call, [began + bench.size.seconds] * threads))
        figures[f"rate_{threads}"] = calls / (time.monotonic() - began)
    return figures


def enqueue_bulk(bench: Bench) -> Sample:
    """`enqueue_many`, 1,000 events per statement."""
    producer = bench.servers.installation
    fleet, data, count = bench.fleet([bench.servers.receiver.url()]), message(), bench.size.bulk_events
    bench.end_worker()
    bench.clear()
    list(enqueue_many([fleet.event(0, data)], producer=producer))  # connects
    began = time.monotonic()
    for _ in enqueue_many((fleet.event(number, data) for number in range(count)), producer=producer):
        pass
    return {"rate": count / (time.monotonic() - began)}


def latency(bench: Bench) -> Sample:
    """An idle system: the time from the call of `enqueue` until the receiver has the request; `p50_ms`, `p99_ms`."""
    servers, receiver, producer = bench.servers, bench.servers.receiver, bench.servers.installation
    fleet, data = bench.fleet([receiver.url()]), message()
    bench.clear()
    worker = bench.worker()
    delays = []
    for number in range(bench.size.single_events + 1):
        began = time.monotonic()
        enqueue("bench.w0", data, account=fleet.account, producer=producer)
        while receiver.counts("ok").requests <= number:
            worker.check()
            if time.monotonic() - began > 30:
                raise Stalled("an event did not arrive within 30 s")
            time.sleep(0.002)
        delays.append(receiver.counts("ok").last_at - began)
        while not nothing_open(servers):
            time.sleep(0.005)
        time.sleep(_PAUSE)  # the loop has ended: the system is idle again
    delays = delays[1:]  # the first made the worker connect
    return {"p50_ms": percentile(delays, 0.5) * 1000, "p99_ms": percentile(delays, 0.99) * 1000}
