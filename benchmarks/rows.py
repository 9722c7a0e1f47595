"""The rows of the benchmark: what is measured, and which targets it must reach. Those of events that come in while
others go out are in `benchmarks.flow_rows`."""

from collections.abc import Sequence

from benchmarks import product
from benchmarks.catalog import MEASURES, Measure
from benchmarks.flow_rows import FLOW_ROWS
from benchmarks.row import Row
from benchmarks.targets import Increase, Largest, Ratio, Target, Value

ROWS = (
    Row(
        "one-webhook",
        "one webhook, single messages, curl",
        (
            Target("naive", Ratio("single.rate", "naive.rate"), 33, 50),
            Target("bullmq with rows", Ratio("single.rate", "bullmq-rows.rate"), 2.5, 4),
            Target("bullmq without rows", Ratio("single.rate", "bullmq.rate"), 1.2, 2),
            Target("of the ceiling", Ratio("single.rate", "ceiling.rate"), 0.35, 0.48, unit="%"),
        ),
        unless=product.no_curl,
    ),
    Row(
        "fifty-webhooks",
        "the same over 50 webhooks",
        (Target("of one webhook", Ratio("fifty.rate", "single.rate"), 0.8, 0.95, unit="%"),),
    ),
    Row(
        "requests-transport",
        "one webhook, requests transport",
        (
            Target("naive", Ratio("requests.rate", "naive.rate"), 10, 14),
            Target("bullmq with rows", Ratio("requests.rate", "bullmq-rows.rate"), 1.0, 1.4),
        ),
    ),
    Row(
        "batches",
        "batches of 100, in messages",
        (Target("naive", Ratio("batches.rate", "naive.rate"), 60, 120),),
    ),
    Row(
        "slow-receivers",
        "50 webhooks whose receivers take 50 ms, curl",
        (Target("of the instant receiver's", Ratio("slow.rate", "fifty.rate"), 0.8, 0.95, unit="%"),),
        unless=product.no_curl,
    ),
    Row(
        "dead-tenth",
        "10 % of 50 webhooks never answer: last healthy delivery",
        (Target("without them", Ratio("dead-tenth.last_s", "no-dead-tenth.last_s"), 1.3, 1.1, more=False),),
    ),
    Row(
        "dead-thousand",
        "1,000 of 10,000 webhooks never answer: last healthy delivery",
        (Target("without them", Ratio("dead-thousand.last_s", "no-dead-thousand.last_s"), 1.5, 1.2, more=False),),
    ),
    Row(
        "slow-backlog",
        "one webhook with a backlog and 1 s answers beside 200 healthy ones",
        (Target("healthy p99 without it", Ratio("beside-slow.p99_ms", "beside-none.p99_ms"), 2, 1.2, more=False),),
    ),
    Row(
        "slow-beside",
        "100 webhooks with a backlog and 3 s answers beside 200 healthy ones",
        (
            Target(
                "healthy p99 without them",
                Ratio("beside-hundred-slow.p99_ms", "beside-none-warm.p99_ms"),
                1.3,
                1.1,
                more=False,
            ),
        ),
    ),
    Row(
        "slow-alone",
        "one webhook with 3 s answers, alone, curl",
        (
            Target("after 30 s", Value("slow-alone.rate_after_30_s"), 30, 150, unit="/s"),
            Target("after 60 s", Value("slow-alone.rate_after_60_s"), 150, 250, unit="/s"),
        ),
        unless=product.no_curl,
    ),
    Row(
        "account-beside-many",
        "an account's event beside 20,001 healthy webhooks of another, all with deliveries due: largest delay",
        (
            Target(
                "until the receiver has it", Value("account-beside-many.largest_ms"), 500, 100, more=False, unit="ms"
            ),
        ),
    ),
    Row(
        "account-beside-hanging",
        "an account's event beside 3,000 hanging webhooks of another: largest delay",
        (
            Target("from together on", Value("account-beside-hanging.largest_ms"), 500, 200, more=False, unit="ms"),
            Target("from 6 s later on", Value("account-beside-hanging.later_ms"), 200, 50, more=False, unit="ms"),
        ),
    ),
    Row(
        "account-beside-disabled",
        "an account's event beside 10,000 disabled webhooks of another, each with a delivery due: largest delay",
        (
            Target(
                "until the receiver has it", Value("account-beside-disabled.largest_ms"), 200, 50, more=False, unit="ms"
            ),
        ),
    ),
    Row(
        "fan-out-beside",
        "one event for 10,000 webhooks of an account beside 200 healthy ones of another",
        (Target("healthy p99 without it", Ratio("beside-fan-out.p99_ms", "steady.p99_ms"), 1.3, 1.1, more=False),),
    ),
    Row(
        "giants-beside",
        "batches of 100 messages of 250 kB for 20 webhooks of an account beside 200 healthy ones of another",
        (Target("healthy p99 without them", Ratio("beside-giants.p99_ms", "steady.p99_ms"), 1.3, 1.1, more=False),),
    ),
    Row(
        "retry-backlog",
        "retries waiting",
        (
            Target(
                "delayed wakes in the broker",
                Value("fresh-behind-waiting.delayed_wakes"),
                300,
                180,
                more=False,
                unit="",
            ),
            Target(
                "worker memory",
                Increase("fresh-behind-waiting.nodes_mb", "fresh.nodes_mb"),
                20,
                5,
                more=False,
                unit="MB more",
            ),
            Target("fresh events", Ratio("fresh-behind-waiting.rate", "fresh.rate"), 0.9, 0.98, unit="%"),
        ),
    ),
    Row(
        "history",
        "finished deliveries in the tables",
        (
            Target("throughput of empty", Ratio("single-behind-finished.rate", "single.rate"), 0.85, 0.95, unit="%"),
            Target("claim p99 of empty", Ratio("claims-behind-finished.p99_ms", "claims.p99_ms"), 2, 1.2, more=False),
        ),
    ),
    Row(
        "retention",
        "old rows removed without a pause between runs",
        (
            Target(
                "throughput without it",
                Ratio("single-beside-retention.rate", "single-behind-finished.rate"),
                0.9,
                0.95,
                unit="%",
            ),
        ),
    ),
    Row(
        "weeks",
        "seven weeks of which two are kept: size of all tables",
        (Target("after the fourth", Ratio("weeks.last_mb", "weeks.fourth_mb"), 1.1, 1.02, more=False),),
    ),
    Row(
        "enqueue",
        "enqueue: one call, one commit / enqueue_many(1,000)",
        (
            Target("ORM commit + apply_async (one)", Ratio("enqueue-one.rate", "naive.enqueue_rate"), 4, 6),
            Target("ORM commit + apply_async (many)", Ratio("enqueue-bulk.rate", "naive.enqueue_rate"), 30, 50),
        ),
    ),
    Row(
        "circuit-breaker",
        "a dead webhook with a backlog",
        (
            Target("attempts per schedule step", Value("circuit-breaker.attempts_per_step"), 1, 1, more=False, unit=""),
            Target("drain, of full throughput", Ratio("circuit-breaker.drain_rate", "single.rate"), 0.5, 0.8, unit="%"),
        ),
    ),
    Row(
        "beside-console",
        "a backlog beside 50 people who look at the console's overview",
        (Target("throughput without them", Value("beside-console.kept"), 0.98, 0.99, unit="%"),),
    ),
    Row(
        "memory",
        "a worker child at full load",
        (
            Target(
                "resident",
                Largest(("single.child_mb", "fifty.child_mb", "slow.child_mb")),
                120,
                80,
                more=False,
                unit="MB",
            ),
        ),
    ),
    Row(
        "memory-engine",
        "API, deliver node with two children, maintenance worker and beat in one command; shared memory counted once",
        (
            Target("at rest", Value("memory.all_mb"), 320, 230, more=False, unit="MB"),
            Target("after 50,000 deliveries", Value("memory.all_mb_after"), 380, 260, more=False, unit="MB"),
        ),
    ),
    *FLOW_ROWS,
)


def measures_of(rows: Sequence[Row]) -> tuple[Measure, ...]:
    """The measures that these rows need, in the order in which they are run."""
    needed = {name for row in rows for name in row.measures}
    return tuple(measure for measure in MEASURES if measure.name in needed)
