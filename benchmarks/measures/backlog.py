"""The cost of a million waiting retries, or of millions of finished deliveries, for the work that is due now."""

import random
import time
from datetime import timedelta

import redis
from sqlalchemy import create_engine

from benchmarks.bench import Bench, Stage
from benchmarks.cpu import tree_mb
from benchmarks.engine import deliver_node, maintenance_worker, wait_until_ready
from benchmarks.follow import follow
from benchmarks.measures.throughput import counted, engine, nothing_open, wake
from benchmarks.servers import Servers
from benchmarks.stored import store_due, store_finished, store_waiting
from benchmarks.targets import Sample, percentile
from dispatcher.states import State
from dispatcher.wake import QUEUES, SWEEP
from schedules.beat import SWEEP_EVERY
from schedules.timing import REAL_TIME
from workers.claims.claims import Claimer
from workers.claims.concurrency import Rooms
from workers.results.delayed_wakes import send_delayed_wakes

_FIRST_RETRY, _RETRIES_OVER = 600, 900  # seconds: none becomes due during the measure; the schedule's step is 15 min
_CLAIM_LIMIT = 200
_WARM_UP = 20


def fill_waiting(bench: Bench) -> None:
    """Stores the retries of the stage, all waiting, on 1,000 webhooks."""
    fleet = bench.fleet([bench.servers.receiver.url()] * 1_000)
    store_waiting(bench.servers, fleet.ids, bench.size.waiting, due_from=_FIRST_RETRY, due_span=_RETRIES_OVER)


def fill_finished(bench: Bench) -> None:
    """Stores the finished deliveries of the stage, on 1,000 webhooks."""
    fleet = bench.fleet([bench.servers.receiver.url()] * 1_000)
    store_finished(bench.servers, fleet.ids, bench.size.finished)


def fresh(bench: Bench) -> Sample:
    """Fresh events with both nodes running: `rate`, `<part>_us`, `nodes_mb` afterwards, `delayed_wakes` in the
    broker."""
    servers, count = bench.servers, bench.size.fresh
    fleet = bench.fleet([servers.instant.url()])
    waiting = bench.size.waiting if bench.stage is Stage.WAITING else 0
    bench.end_worker()
    bench.clear()
    delayed_wakes = _send_delayed_wakes(servers, waiting)
    with maintenance_worker(servers) as upkeep, deliver_node(servers) as worker:
        done = counted(servers.instant.requests)
        store_due(servers, fleet.ids, count)
        wait_until_ready(upkeep, worker)  # the maintenance worker has the delayed wakes in memory now
        wake(servers)
        sample = follow(servers, [worker, upkeep], count, done=done, all_done=lambda: nothing_open(servers))
        return {**sample, "nodes_mb": tree_mb(worker.pid) + tree_mb(upkeep.pid), "delayed_wakes": float(delayed_wakes)}


def single_again(bench: Bench) -> Sample:
    """Like `single`, with the tables of its stage."""
    return engine(bench, bench.fleet([bench.servers.instant.url()]), bench.size.single)


def claims(bench: Bench) -> Sample:
    """Claims of 200 deliveries by one claimer, with 200 webhooks due: `p50_ms` and `p99_ms`."""
    servers = bench.servers
    fleet = bench.fleet([servers.receiver.url()] * 200)
    bench.clear()
    store_due(servers, fleet.ids, bench.size.claims)
    claimer, rooms, times = Claimer(), Rooms(), []
    database = create_engine(servers.url)
    while True:
        began = time.perf_counter()
        with database.begin() as connection:
            found = claimer.claim(connection, rooms, _CLAIM_LIMIT).claims
        times.append(time.perf_counter() - began)
        if len(found) < _CLAIM_LIMIT:
            break
    database.dispose()
    servers.execute(f"DELETE FROM dispatcher.deliveries WHERE state IN ('{State.READY}', '{State.CLAIMED}')")
    servers.execute("VACUUM dispatcher.deliveries")
    times = times[_WARM_UP:-1] or times
    return {"p50_ms": percentile(times, 0.5) * 1000, "p99_ms": percentile(times, 0.99) * 1000}


def _send_delayed_wakes(servers: Servers, waiting: int) -> int:
    """Sends the delayed wakes of `waiting` retries, as recording them does; returns how many messages they became."""
    now, width = time.time(), SWEEP_EVERY.total_seconds()
    first = -now % width + _FIRST_RETRY  # time buckets begin there
    for _ in range(0, waiting, 10_000):
        delays = [timedelta(seconds=first + _RETRIES_OVER * (1 - random.random())) for _ in range(10_000)]  # noqa: S311
        send_delayed_wakes(servers.installation.waker, delays, now, REAL_TIME)
    with redis.Redis.from_url(servers.valkey.url) as client:
        return int(client.llen(QUEUES[SWEEP]))
