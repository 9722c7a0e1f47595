"""The producer's side: enqueueing without a worker."""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench
from benchmarks.targets import Sample
from benchmarks.workload import message
from dispatcher import enqueue, enqueue_many


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
