"""Deliveries per second: the engine in several configurations, and the baselines."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from benchmarks import bullmq, product
from benchmarks.bench import Bench
from benchmarks.engine import CHILDREN, node
from benchmarks.follow import follow
from benchmarks.receivers import Receiver
from benchmarks.servers import MESSAGE_BYTES, Servers
from benchmarks.stored import store_due
from benchmarks.targets import Sample
from benchmarks.workload import Fleet, message
from dispatcher.states import State

LOOPS_END = 0.3  # seconds after which a loop that found nothing more has ended


def naive(bench: Bench) -> Sample:
    """`enqueue_rate` is the rate of its producer: an ORM commit and an `apply_async` for each message."""
    servers, count = bench.servers, bench.size.naive
    bench.clear()
    program = [sys.executable, "-P", "-m", "benchmarks.naive"]
    seconds = run_to_end(servers, [*program, str(count), servers.instant.url(), message().decode()])
    done = counted(servers.instant.requests)
    words = [sys.executable, "-P", "-m", "celery", "-q", "-A", "benchmarks.naive", "worker", "-Q", "naive", "-c", "8"]
    with node(servers, "naive", words) as worker:
        sample = follow(servers, [worker], count, done=done, all_done=lambda: _rows(servers, "naive_attempts") >= count)
    return {**sample, "enqueue_rate": count / float(seconds)}


def bullmq_alone(bench: Bench) -> Sample:
    return _bullmq(bench, rows=False)


def bullmq_with_rows(bench: Bench) -> Sample:
    return _bullmq(bench, rows=True)


def no_bullmq() -> str | None:
    """Why it cannot be measured, or None if it can; installs its packages if they are missing."""
    try:
        bullmq.installed()
    except bullmq.NotHere as reason:
        return str(reason)
    return None


def ceiling(bench: Bench) -> Sample:
    """The transport that the engine uses, in as many processes as the engine has."""
    servers = bench.servers
    bench.clear()
    done = counted(servers.instant.requests)
    words = [sys.executable, "-P", "-m", "benchmarks.ceiling", servers.instant.url(), message().decode()]
    with ExitStack() as stack:
        workers = [stack.enter_context(node(servers, f"ceiling-{n}", words)) for n in range(CHILDREN)]
        return follow(servers, workers, bench.size.ceiling, done=done)


def single(bench: Bench) -> Sample:
    """One webhook, one message per request, the default transport."""
    fleet = bench.fleet([bench.servers.instant.url()])
    return engine(bench, fleet, bench.size.single)


def fifty(bench: Bench) -> Sample:
    fleet = bench.fleet([bench.servers.instant.url()] * 50)
    return engine(bench, fleet, bench.size.single)


def requests_transport(bench: Bench) -> Sample:
    fleet = bench.fleet([bench.servers.instant.url()])
    return engine(bench, fleet, bench.size.requests, env={"DISPATCHER_TRANSPORT": "requests"})


def batches(bench: Bench) -> Sample:
    """Up to 100 messages per request; our own receiver counts the messages."""
    receiver = bench.servers.receiver
    fleet = bench.fleet([receiver.url()], envelope="array", batch_size=100)
    return engine(bench, fleet, bench.size.batches, done=lambda: receiver.counts("ok").messages)


def slow(bench: Bench) -> Sample:
    """50 webhooks whose receivers answer after 50 ms."""
    receiver = bench.servers.receiver
    fleet = bench.fleet([receiver.url("sleep?ms=50")] * 50)
    return engine(bench, fleet, bench.size.slow, done=lambda: receiver.counts("sleep").requests)


def engine(
    bench: Bench,
    fleet: Fleet,
    count: int,
    *,
    env: Mapping[str, str] | None = None,
    done: Callable[[], int] | None = None,
    receiver: Receiver | None = None,
) -> Sample:
    """Stores `count` deliveries, then wakes the waiting workers and follows them until all are recorded. `receiver`: in
    place of the usual ones."""
    servers = bench.servers if receiver is None else bench.servers.with_receiver(receiver)
    bench.clear()
    worker = bench.worker(env)
    before = delivered_rows(servers, fleet)
    done = done or counted(servers.instant.requests)
    store_due(servers, fleet.ids, count)  # a parked loop that looks meanwhile finds the first ones
    wake(servers)
    sample = follow(servers, [worker], count, done=done, all_done=lambda: nothing_open(servers))
    delivered = delivered_rows(servers, fleet) - before
    if delivered != count:
        raise RuntimeError(f"{delivered} of {count} were delivered")
    bench.facts.update(product.switched_on(servers.database, servers.settings))
    time.sleep(LOOPS_END)
    return sample


def counted(requests: Callable[[], int]) -> Callable[[], int]:
    """A count that starts at zero now."""
    before = requests()
    return lambda: requests() - before


def wake(servers: Servers) -> None:
    """Sends a wake, as `enqueue` does after its commit."""
    servers.installation.waker.wake_another()


def nothing_open(servers: Servers) -> bool:
    """Whether nothing is ready or claimed any more; reads only the small partial indexes."""
    return not servers.scalar(
        f"SELECT EXISTS (SELECT 1 FROM dispatcher.deliveries WHERE state = '{State.READY}')"
        f" OR EXISTS (SELECT 1 FROM dispatcher.deliveries WHERE state = '{State.CLAIMED}')"
    )


def run_to_end(servers: Servers, words: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Runs a program; returns its output. Raises RuntimeError if it fails."""
    with node(servers, "step", list(words), env) as running:
        if running.wait() != 0:
            running.check()
        return running.said()


def _bullmq(bench: Bench, *, rows: bool) -> Sample:
    servers, count, folder = bench.servers, bench.size.bullmq, bullmq.installed()
    bench.clear()
    env = {"DATABASE_URL": servers.url.replace("+psycopg2", "") if rows else ""}
    servers.execute("CREATE SCHEMA IF NOT EXISTS bullmq")
    servers.execute("DROP TABLE IF EXISTS bullmq.attempts")
    servers.execute(
        "CREATE TABLE bullmq.attempts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, delivery_id uuid NOT NULL,"
        " number integer NOT NULL, status smallint NOT NULL, duration_ms integer NOT NULL,"
        " created_at timestamptz NOT NULL DEFAULT now())"
    )
    program = ["node", str(folder / "index.mjs")]
    run_to_end(servers, [*program, "enqueue", str(count), servers.instant.url(), str(MESSAGE_BYTES)], env)
    done = counted(servers.instant.requests)
    with ExitStack() as stack:
        workers = [stack.enter_context(node(servers, f"bullmq-{n}", [*program, "work"], env)) for n in range(CHILDREN)]
        return follow(
            servers,
            workers,
            count,
            done=done,
            all_done=(lambda: _rows(servers, "bullmq.attempts") >= count) if rows else lambda: True,
        )


def _rows(servers: Servers, table: str) -> int:
    time.sleep(0.02)  # counting a whole table must not be a tight loop
    return int(str(servers.scalar(f"SELECT count(*) FROM {table}")))


def delivered_rows(servers: Servers, fleet: Fleet) -> int:
    """How many of a fleet's deliveries are recorded as delivered."""
    return int(
        str(
            servers.scalar(
                "SELECT count(*) FROM dispatcher.deliveries"
                f" WHERE webhook_id = ANY(:ids) AND state = '{State.DELIVERED}'",
                ids=list(fleet.ids),
            )
        )
    )
