"""The time until a receiver has an event: on an idle system, and while events come at a steady rate.

`p50_ms` and `p99_ms` count from the commit of `enqueue`, which wakes the workers at once after it, or from the sending
of the HTTP request, whose commit nobody outside sees. `call_p50_ms` counts from the call of `enqueue`. All times, those
of the receiver too, are on the machine's monotonic clock. At a rate the figures have its name; the calls of a rate come
from few threads, and a measure fails if these could not keep it.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple
from unittest.mock import patch
from urllib.parse import urlsplit

import psycopg2
import redis

from benchmarks.bench import Bench
from benchmarks.follow import wait_for
from benchmarks.http_client import connect, exchange
from benchmarks.measures.http import one_event, serving
from benchmarks.measures.throughput import nothing_open
from benchmarks.servers import Servers
from benchmarks.targets import Sample, percentile
from benchmarks.workload import Fleet, message, numbered_message
from dispatcher import enqueue, enqueue_many

_PAUSE = 0.05  # seconds between single events: the loops are parked again
_WARM_UP = 0.5
_KEPT = 0.8  # the least share of a rate
_THREADS = 4  # that one call cannot hold up

# Stores the events with these numbers; returns when they were committed (monotonic), if that is seen.
Call = Callable[[Sequence[int]], float | None]


class _Made(NamedTuple):
    """When a call began, when its events were committed, or else when it began, and when it returned."""

    began: float
    counts_from: float
    returned: float


def _made(call: Call, numbers: Sequence[int]) -> _Made:
    began = time.monotonic()
    committed = call(numbers)
    return _Made(began, began if committed is None else committed, time.monotonic())


def latency(bench: Bench) -> Sample:
    """From `enqueue`: one after the other, and 200 a second from one thread; from `enqueue_many`: 2,000 a second, 10 in
    each call, from 4 threads."""
    producer, fleet = bench.servers.installation, _timed(bench)
    woken = threading.local()  # when each thread woke the workers last

    def wake(wake: Callable[..., bool], *task: str) -> bool:
        woken.at = time.monotonic()
        return wake(*task)

    def one(numbers: Sequence[int]) -> float:
        enqueue("bench.w0", numbered_message(numbers[0]), account=fleet.account, producer=producer)
        return float(woken.at)

    def several(numbers: Sequence[int]) -> float:
        list(enqueue_many([fleet.event(0, numbered_message(number)) for number in numbers], producer=producer))
        return float(woken.at)

    with patch.object(producer.waker, "wake", partial(wake, producer.waker.wake)):
        return {
            **_idle(bench, one),
            **_steady(bench, [one], 200, name="_200"),
            **_steady(bench, [several] * _THREADS, 2_000, each=10, name="_2000"),
        }


def latency_http(bench: Bench) -> Sample:
    """From `POST /v1/events`: one after the other, and 200 a second over 4 connections."""
    fleet = _timed(bench)
    with serving(bench, fleet) as served, ExitStack() as stack:
        connections = [stack.enter_context(connect(served.ports[0])) for _ in range(_THREADS)]

        def send(connection: socket.socket, numbers: Sequence[int]) -> None:
            exchange(connection, one_event(served.token, numbered_message(numbers[0])))

        calls = [partial(send, connection) for connection in connections]
        return {**_idle(bench, calls[0]), **_steady(bench, calls, 200, name="_200")}


def latency_bare(bench: Bench) -> Sample:
    """The baseline: the steps that nobody can leave out, one after the other, on an idle system: a row inserted and
    committed, a ping of the broker, a request to the receiver."""
    servers = bench.servers
    bench.clear()
    request = b"POST /ok HTTP/1.1\r\nhost: receiver\r\ncontent-length: %d\r\n\r\n%b" % (len(message()), message())
    times = []
    with (
        closing(psycopg2.connect(servers.url.replace("+psycopg2", ""))) as database,
        redis.Redis.from_url(servers.valkey.url) as broker,
        connect(urlsplit(servers.receiver.url()).port or 80) as receiver,
    ):
        database.autocommit = True
        cursor = database.cursor()
        cursor.execute("CREATE TABLE IF NOT EXISTS bare_latencies (body bytea)")
        for _ in range(bench.size.single_events + 1):
            began = time.monotonic()
            cursor.execute("INSERT INTO bare_latencies VALUES (%s)", (message(),))
            committed = time.monotonic()
            broker.ping()
            answered = time.monotonic()
            exchange(receiver, request)
            times.append((committed - began, answered - committed, time.monotonic() - answered))
            time.sleep(_PAUSE)
    steps = {
        f"{name}_p50_ms": percentile(values, 0.5) * 1000
        for name, values in zip(("commit", "ping", "request"), zip(*times[1:], strict=True), strict=True)
    }
    whole = [sum(one) for one in times[1:]]
    return {"p50_ms": percentile(whole, 0.5) * 1000, "p99_ms": percentile(whole, 0.99) * 1000, **steps}


def _timed(bench: Bench) -> Fleet:
    fleet = bench.fleet([bench.servers.receiver.url("timed")])
    bench.clear()
    bench.worker()
    return fleet


def _idle(bench: Bench, call: Call) -> Sample:
    """One event after the other, each when nothing is left to do. The first lets everybody connect."""
    bench.servers.receiver.forget()
    calls = []
    for number in range(bench.size.single_events + 1):
        calls.append(_made(call, [number]))
        _wait_until_delivered(bench, number + 1)
        time.sleep(_PAUSE)
    return _figures(bench.servers, calls, skipped=1)


def _steady(bench: Bench, calls: Sequence[Call], rate: int, *, name: str, each: int = 1) -> Sample:
    """`rate` events a second, `each` in a call; the threads take turns, one for each of `calls`."""
    bench.servers.receiver.forget()
    every, begins = each / rate, time.monotonic() + 0.05
    rounds = max(int((_WARM_UP + bench.size.seconds) / every / len(calls)), 2)

    def run(thread: int) -> list[_Made]:
        made = []
        for one in range(rounds):
            number = one * len(calls) + thread
            time.sleep(max(0, begins + number * every - time.monotonic()))
            made.append(_made(calls[thread], range(number * each, (number + 1) * each)))
        return made

    with ThreadPoolExecutor(len(calls)) as pool:
        by_thread = list(pool.map(run, range(len(calls))))
    total = rounds * len(calls) * each
    if (kept := total / (max(made[-1].returned for made in by_thread) - begins)) < rate * _KEPT:
        raise RuntimeError(f"the events came at {kept:.0f} a second instead of {rate}")
    _wait_until_delivered(bench, total)
    skipped = int(total * _WARM_UP / (_WARM_UP + bench.size.seconds))
    in_turn = [times for one in zip(*by_thread, strict=True) for times in one for _ in range(each)]
    return {f"{figure}{name}": value for figure, value in _figures(bench.servers, in_turn, skipped).items()}


def _wait_until_delivered(bench: Bench, count: int) -> None:
    receiver, worker = bench.servers.receiver, bench.worker()
    wait_for(lambda: receiver.counts("timed").requests >= count, worker, within=60)
    wait_for(lambda: nothing_open(bench.servers), worker, within=60)


def _figures(servers: Servers, calls: Sequence[_Made], skipped: int) -> Sample:
    """From each event's call, by its number."""
    arrivals = servers.receiver.arrivals(len(calls))
    if not all(arrivals):
        raise RuntimeError("an event came without its number")
    seen = list(zip(calls, arrivals, strict=True))[skipped:]
    delays = [arrived - call.counts_from for call, arrived in seen]
    return {
        "p50_ms": percentile(delays, 0.5) * 1000,
        "p99_ms": percentile(delays, 0.99) * 1000,
        "call_p50_ms": percentile([arrived - call.began for call, arrived in seen], 0.5) * 1000,
    }
