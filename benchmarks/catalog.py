"""Every measure, in the order in which they are run, round after round."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench import Bench, Stage
from benchmarks.measures import (
    accounts,
    backlog,
    circuit_breaker,
    console,
    flow,
    http,
    isolation,
    latency,
    memory,
    nodes,
    producers,
    readers,
    retention,
    storing,
    throughput,
    tls,
)
from benchmarks.targets import Sample


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure. `unless` returns why it cannot be run here, or None. A quick run has a `long` one only once."""

    name: str
    run: Callable[[Bench], Sample]
    stage: Stage = Stage.EMPTY
    unless: Callable[[], str | None] = lambda: None
    full_run_only: bool = False
    long: bool = False


# Those that share a running worker are next to each other; those after which the worker must end come last.
MEASURES = (
    Measure("naive", throughput.naive),
    Measure("bullmq", throughput.bullmq_alone, unless=throughput.no_bullmq),
    Measure("bullmq-rows", throughput.bullmq_with_rows, unless=throughput.no_bullmq),
    Measure("ceiling", throughput.ceiling),
    Measure("requests", throughput.requests_transport),
    Measure("single-behind-finished", backlog.single_again, Stage.FINISHED, long=True),
    Measure("single-beside-retention", retention.single_beside, Stage.FINISHED, long=True),
    Measure("single", throughput.single),
    Measure("fifty", throughput.fifty),
    Measure("slow", throughput.slow),
    Measure("batches", throughput.batches),
    Measure("beside-console", console.beside, long=True),
    Measure("latency-bare", latency.latency_bare),
    Measure("latency", latency.latency),
    Measure("fan-out", flow.fan_out),
    Measure("both-at-once", flow.both_at_once),
    Measure("end-to-end", flow.end_to_end),
    Measure("latency-http", latency.latency_http, long=True),
    Measure("no-dead-tenth", isolation.no_dead_tenth, long=True),
    Measure("dead-tenth", isolation.dead_tenth, long=True),
    Measure("no-dead-thousand", isolation.no_dead_thousand, full_run_only=True),
    Measure("dead-thousand", isolation.dead_thousand, full_run_only=True),
    Measure("enqueue-one", producers.enqueue_one),
    Measure("enqueue-bulk", producers.enqueue_bulk),
    Measure("enqueue-threads", producers.enqueue_threads),
    Measure("http-bare", http.http_bare),
    Measure("http-single", http.http_single),
    Measure("http-two", http.http_two, long=True),
    Measure("http-batch", http.http_batch),
    Measure("store-beside", storing.beside, long=True),
    Measure("beside-readers", readers.beside_readers, long=True),
    Measure("beside-none", isolation.beside_none, long=True),
    Measure("steady", accounts.steady, long=True),
    Measure("beside-fan-out", accounts.beside_fan_out, long=True),
    Measure("beside-giants", accounts.beside_giants, long=True),
    Measure("beside-slow", isolation.beside_slow, long=True),
    Measure("beside-none-warm", isolation.beside_none_warm, long=True),
    Measure("beside-hundred-slow", isolation.beside_hundred_slow, long=True),
    Measure("slow-alone", isolation.slow_alone, full_run_only=True),
    Measure("account-beside-disabled", accounts.beside_disabled, long=True),
    Measure("account-beside-many", accounts.beside_many, long=True),
    Measure("account-beside-hanging", accounts.beside_hanging, long=True),
    Measure("weeks", retention.weeks, long=True),
    Measure("claims", backlog.claims),
    Measure("claims-behind-finished", backlog.claims, Stage.FINISHED),
    Measure("fresh", backlog.fresh, long=True),
    Measure("fresh-behind-waiting", backlog.fresh, Stage.WAITING, long=True),
    Measure("circuit-breaker", circuit_breaker.circuit_breaker, long=True),
    Measure("memory", memory.memory, long=True),
    Measure("tls-none", tls.plain, long=True),
    Measure("tls", tls.http1, long=True),
    Measure("tls-http2", tls.http2, long=True),
    Measure("nodes", nodes.nodes, long=True),
)

FILL: dict[Stage, Callable[[Bench], None]] = {
    Stage.WAITING: backlog.fill_waiting,
    Stage.FINISHED: backlog.fill_finished,
}
