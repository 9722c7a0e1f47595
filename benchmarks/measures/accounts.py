"""What the size of one account costs another: many webhooks, healthy, hanging or disabled; one event for all of them;
large messages.

Delays of single events are from the call of `enqueue` until the receiver has the request. The events come one after the
other, and the largest delay counts.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench
from benchmarks.follow import wait_for
from benchmarks.measures.isolation import steady_delays
from benchmarks.measures.throughput import wake
from benchmarks.stored import store_due
from benchmarks.targets import Sample, percentile
from benchmarks.workload import ALL, Fleet, incompressible_message, message
from dispatcher import enqueue
from dispatcher.states import State

LATER = 6.0  # seconds after the hanging webhooks got their events: all slots that they may have are taken
OTHER, CROWD = "sleep?ms=0", "ok"  # different paths, so that the receiver counts them separately
GIANT = 250_000  # bytes of a message
STEADY = 3.0  # seconds of a steady rate: about as long as the event for 10,000 webhooks takes
WARM = 1.0
_PAUSE = 0.1


def beside_many(bench: Bench) -> Sample:
    """An account's single events beside 20,001 healthy webhooks of another, all with deliveries due."""
    servers, receiver, count = bench.servers, bench.servers.receiver, bench.size.many_backlog
    many = bench.fleet([receiver.url(CROWD)] * bench.size.many_webhooks)
    other = _idle_account(bench)
    store_due(servers, many.ids, count)
    wake(servers)
    wait_for(lambda: receiver.counts(CROWD).requests > 0, bench.worker(), within=10)
    delays = [_delay(bench, other) for _ in range(bench.size.other_events)]
    _check_ready(bench, many)
    bench.end_worker()
    return _sample(delays)


def beside_hanging(bench: Bench) -> Sample:
    """An account's single events beside 3,000 webhooks of another that never answer, and get one event. The first event
    is stored together with that one, in one transaction; `later_ms`: of events from 6 s after it."""
    servers, receiver = bench.servers, bench.servers.receiver
    hanging = bench.fleet([receiver.url("hang")] * bench.size.hanging_webhooks)
    other = _idle_account(bench)
    producer = servers.installation
    with producer.transaction() as session:
        enqueue(ALL, message(), account=hanging.account, session=session, producer=producer)
        enqueue("bench.w0", message(), account=other.account, session=session, producer=producer)
        known, began = receiver.counts("sleep").requests, time.monotonic()
    delays = [_arrival(bench, known, began)]
    while time.monotonic() < began + LATER:
        delays.append(_delay(bench, other))
    later = [_delay(bench, other) for _ in range(bench.size.other_events)]
    hang = receiver.counts("hang").requests
    bench.end_worker()
    return {
        **_sample(delays),
        "first_ms": delays[0] * 1000,
        "later_p50_ms": percentile(later, 0.5) * 1000,
        "later_ms": max(later) * 1000,
        "hanging": float(hang),
    }


def beside_disabled(bench: Bench) -> Sample:
    """An account's single events beside 10,000 disabled webhooks of another, each with a delivery due."""
    servers, receiver = bench.servers, bench.servers.receiver
    disabled = bench.fleet([receiver.url("switch")] * bench.size.disabled_webhooks)
    servers.execute("UPDATE dispatcher.webhooks SET enabled = false WHERE id = ANY(:ids)", ids=list(disabled.ids))
    other = _idle_account(bench)
    store_due(servers, disabled.ids, len(disabled.ids))
    wake(servers)
    delays = [_delay(bench, other) for _ in range(bench.size.other_events)]
    _check_ready(bench, disabled)
    return _sample(delays)


def steady(bench: Bench) -> Sample:
    """Delays of an account with a steady rate of events, and nothing else."""
    _warm_up(bench)
    return steady_delays(bench, STEADY)


def beside_fan_out(bench: Bench) -> Sample:
    """The same while another account has one event for 10,000 webhooks; `fan_out_s`: from its first request to its
    last."""
    servers, receiver = bench.servers, bench.servers.receiver
    many = bench.fleet([receiver.url(OTHER)] * bench.size.fan_out)
    _warm_up(bench)
    with ThreadPoolExecutor(1) as pool:
        stored = pool.submit(enqueue, ALL, message(), account=many.account, producer=servers.installation)
        sample = steady_delays(bench, STEADY)
        stored.result()
    wait_for(lambda: receiver.counts("sleep").requests >= len(many.ids), bench.worker(), within=60)
    counts = receiver.counts("sleep")
    return {**sample, "fan_out_s": counts.last_at - counts.first_at}


def beside_giants(bench: Bench) -> Sample:
    """The same while 20 webhooks of another account, which take batches of 100, have a backlog of messages of 250 kB;
    `giant_requests`: requests a second for those."""
    servers, receiver = bench.servers, bench.servers.receiver
    giants = bench.fleet([receiver.url(OTHER)] * 20, envelope="array", batch_size=100)
    _warm_up(bench)
    store_due(servers, giants.ids, bench.size.giants, incompressible_message(GIANT))
    wake(servers)
    wait_for(lambda: receiver.counts("sleep").requests > 0, bench.worker(), within=10)
    sample = steady_delays(bench, STEADY)
    counts = receiver.counts("sleep")
    _check_ready(bench, giants)
    bench.end_worker()
    return {**sample, "giant_requests": counts.requests / (counts.last_at - counts.first_at)}


def _warm_up(bench: Bench) -> None:
    """The worker has delivered to the healthy webhooks, and has nothing to do."""
    bench.clear()
    steady_delays(bench, WARM)


def _idle_account(bench: Bench) -> Fleet:
    """An account with one healthy webhook, beside nothing yet. Its first event has been delivered: the worker has
    connected to everything."""
    other = bench.fleet([bench.servers.receiver.url(OTHER)])
    bench.clear()
    bench.worker()
    _delay(bench, other)
    return other


def _delay(bench: Bench, other: Fleet) -> float:
    """The delay of one event, in seconds; pauses afterwards."""
    known, began = bench.servers.receiver.counts("sleep").requests, time.monotonic()
    enqueue("bench.w0", message(), account=other.account, producer=bench.servers.installation)
    return _arrival(bench, known, began)


def _arrival(bench: Bench, known: int, began: float) -> float:
    """Seconds from `began` until the receiver has one request more than `known`; pauses afterwards."""
    receiver, worker = bench.servers.receiver, bench.worker()
    wait_for(lambda: receiver.counts("sleep").requests > known, worker, within=60)
    time.sleep(_PAUSE)
    return receiver.counts("sleep").last_at - began


def _check_ready(bench: Bench, fleet: Fleet) -> None:
    """Raises RuntimeError if a fleet has nothing due any more: then its account was not there all the time."""
    left = (
        f"SELECT EXISTS (SELECT 1 FROM dispatcher.deliveries WHERE state = '{State.READY}' AND webhook_id = ANY(:ids))"
    )
    if not bench.servers.scalar(left, ids=list(fleet.ids)):
        raise RuntimeError("the other account had nothing due any more before the measure ended: store more")


def _sample(delays: list[float]) -> Sample:
    return {"p50_ms": percentile(delays, 0.5) * 1000, "largest_ms": max(delays) * 1000}
