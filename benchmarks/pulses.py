"""`./run.sh bench pulses`: what it costs to count requests, and to read the counts, with many of them.

All is measured at 500 webhooks of 40 accounts that have had 1.5 million requests in 7 days, one of them an eighth. What
counting costs those who deliver is told by the CPU time that a delivery takes, in all processes, and what PostgreSQL
then takes to count its request.
"""

import statistics
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic, perf_counter
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.bench import QUICK, Bench
from benchmarks.cpu import cpu_seconds
from benchmarks.history import SPAN, make_webhooks, store_requests
from benchmarks.measures.throughput import single
from benchmarks.servers import Servers, running_servers
from dispatcher.webhooks.pulses.outcomes import ALL
from dispatcher.webhooks.pulses.reading import bars, failing, series
from dispatcher.webhooks.pulses.recent import Recent
from dispatcher.webhooks.pulses.steps import Step, Times
from workers.maintenance.pulses import count_pulses

MOST_OF_A_DELIVERY = 0.03
MOST_OF_A_PAGE = 60.0  # ms
_RUNS, _PIECE = 11, 50_000

_BUSIEST = """
SELECT p.of_id FROM dispatcher.pulses p JOIN dispatcher.webhooks w ON w.id = p.of_id
WHERE span = 60 AND of_id <> :all GROUP BY of_id ORDER BY sum(requests) DESC
"""
_OWNER = "SELECT account_id FROM dispatcher.webhooks WHERE id = :webhook"


class Row(NamedTuple):
    """One line: what was done, how long it took, and how long it may take."""

    what: str
    ms: float
    most_ms: float


def of_counting_and_reading(requests: int, say: Callable[[str], None]) -> bool:
    """Measures all of it, and says what was found. Returns whether each part is as fast as it must be."""
    with running_servers(wal_files=8) as servers, Bench(servers, QUICK, quick=True) as bench:
        share = _share_of_a_delivery(bench, say)
        bench.clear()
        good = share < MOST_OF_A_DELIVERY
        for row in rows(servers, requests):
            slow = row.ms > row.most_ms
            good = good and not slow
            say(f"{row.what:72} {row.ms:9,.1f} ms{f'   more than {row.most_ms:,.0f}' if slow else ''}")
    return good


def _share_of_a_delivery(bench: Bench, say: Callable[[str], None]) -> float:
    """What counting a request costs, as a part of what delivering it did."""
    sample = single(bench)
    delivery = sum(value for name, value in sample.items() if name.endswith("_us") and not name.startswith("receiver"))
    servers = bench.servers
    count_pulses(servers.installation.engine, datetime.now(UTC), monotonic() + 60)  # begins
    before = cpu_seconds(servers.postgres.process.pid)
    later = datetime.now(UTC) + timedelta(hours=10)
    folded = 0
    for _ in range(3):  # counts them, and compares twice
        folded += count_pulses(servers.installation.engine, later, monotonic() + 60)["requests_folded"]
    counting = (cpu_seconds(servers.postgres.process.pid) - before) / max(folded, 1) * 1e6
    say(
        f"a delivery takes {delivery:.0f} us of CPU time, counting its request and comparing twice {counting:.1f} us:"
        f" {counting / delivery:.1%}"
    )
    return counting / delivery


def rows(servers: Servers, requests: int) -> Iterator[Row]:
    """Stores requests, counts them, and reads the counts, in that order."""
    now = datetime.now(UTC)
    webhooks = make_webhooks(servers)
    store_requests(servers, webhooks, requests, now - SPAN, now)
    servers.execute("VACUUM ANALYZE dispatcher.requests")
    engine = servers.installation.engine
    began, done = perf_counter(), 0
    while more := count_pulses(engine, now, monotonic() + 600)["requests_folded"]:
        done += more
    count_pulses(engine, now, monotonic() + 600)
    yield Row(f"count {done:,} requests of {SPAN.days} days for the first time", _ms(began), 120_000)
    servers.execute("VACUUM ANALYZE dispatcher.pulses")
    yield from _reading(servers, now)
    for of_minute in (6_000, 60_000):
        at = now + timedelta(minutes=1) * (1 + of_minute // 60_000)
        store_requests(servers, webhooks, of_minute, at, at + timedelta(minutes=1))
        began = perf_counter()
        count_pulses(engine, at + timedelta(minutes=3), monotonic() + 60)
        yield Row(f"count a minute of {of_minute:,} requests", _ms(began), 1_000)


def _reading(servers: Servers, now: datetime) -> Iterator[Row]:
    """All that is read of the counts. What upkeep has not counted is read once, as it is in 5 s."""
    with servers.installation.transaction() as session:
        busiest = session.scalars(text(_BUSIEST), {"all": ALL}).all()
        account = session.execute(text(_OWNER), {"webhook": busiest[0]}).scalar_one()
    recent = Recent()

    def measured(what: str, read: Callable[[Session], object]) -> Row:
        times = []
        for _ in range(_RUNS):
            began = perf_counter()
            with servers.installation.transaction() as session:
                read(session)
            times.append(_ms(began))
        return Row(what, statistics.median(times), MOST_OF_A_PAGE)

    for what, of_id in (("the busiest webhook", busiest[0]), ("its account", account), ("the installation", ALL)):
        for days, step in ((1, Step.MINUTES_15), (7, Step.HOUR), (30, Step.DAY)):
            times = Times.of(now, now - timedelta(days=days), step=step)
            read = partial(series, recent=recent, of_id=of_id, times=times, now=now, exact=True)
            yield measured(f"series of {what}, {days} days by {step}", read)
    yield measured("small charts of 50 webhooks", partial(bars, recent=recent, ids=busiest[:50], now=now))
    yield measured("webhooks that fail", partial(failing, recent=recent, now=now, exact=True))
    yield measured(
        "what is not counted yet, two minutes of it",
        lambda session: Recent().since(session, now - timedelta(minutes=2), now),
    )


def _ms(began: float) -> float:
    return (perf_counter() - began) * 1000
