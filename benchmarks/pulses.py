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
from benchmarks.measures.throughput import single
from benchmarks.servers import Servers, running_servers
from dispatcher.db.arrays import array
from dispatcher.db.partitions import create_partition, week_of
from dispatcher.ids import first_id_at
from dispatcher.webhooks.pulses.outcomes import ALL
from dispatcher.webhooks.pulses.reading import bars, failing, series
from dispatcher.webhooks.pulses.recent import Recent
from dispatcher.webhooks.pulses.steps import Step, Times
from workers.maintenance.pulses import count_pulses

REQUESTS, WEBHOOKS, ACCOUNTS = 1_500_000, 500, 40
SPAN = timedelta(days=7)
MOST_OF_A_DELIVERY = 0.03
MOST_OF_A_PAGE = 60.0  # ms
_RUNS, _PIECE = 11, 50_000

_FLEET = """
WITH a AS (INSERT INTO dispatcher.accounts (id, name) SELECT gen_random_uuid(), 'account ' || n
  FROM generate_series(1, :accounts) n RETURNING id, number),
placed AS (SELECT id, number, row_number() OVER (ORDER BY number) AS place FROM a)
INSERT INTO dispatcher.webhooks (id, account_id, account_no, url_masked, event_types, contract, retry_span, enabled)
SELECT gen_random_uuid(), p.id, p.number, '', '{*}', '{}', '2 days', true
FROM generate_series(0, :webhooks - 1) w JOIN placed p ON p.place = 1 + w % :accounts
"""
# The first webhooks have most of them. Times are spread as those of real receivers; a tenth fails, in six ways.
_STORE = """
INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, status, failure, answer_headers,
  answer_cut, answer_unreadable, verdict, messages, started_at, duration)
SELECT (lpad(to_hex(CAST(:start + g * CAST(:apart AS float8) AS bigint)), 12, '0') || '7000'
    || substr(md5(random()::text), 1, 16))::uuid,
  (CAST(:ids AS uuid[]))[1 + CAST(floor(:webhooks * power(random(), 3)) AS int)], 'POST', 'https://example.com/',
  repeat('Header: value of a header' || chr(10), 10),
  (ARRAY[500, 503, 404, 410, NULL, NULL, 200])[outcome],
  (ARRAY[NULL, NULL, NULL, NULL, 'timeout', 'dns', NULL])[outcome],
  'Server: bench', false, false,
  (ARRAY['temporary', 'temporary', 'rejected', 'rejected', 'temporary', 'temporary', 'acknowledged'])[outcome],
  1, now(),
  make_interval(secs => exp(3.6 + 2 * (random() + random() + random() + random() - 2)) / 1000)
FROM (SELECT g, least(1 + CAST(floor(60 * random()) AS int), 7) AS outcome
      FROM generate_series(CAST(:first AS bigint), :last) g OFFSET 0) made
"""


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
    store(servers, requests, now - SPAN, now)
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
        store(servers, of_minute, at, at + timedelta(minutes=1))
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


def store(servers: Servers, requests: int, begin: datetime, end: datetime) -> None:
    """Stores requests of this time, spread evenly over it, with the webhooks that they need."""
    engine = servers.installation.engine
    with engine.begin() as connection:
        moment = begin
        while moment < end + timedelta(days=7):
            create_partition(connection, week_of("requests", first_id_at(moment)))
            moment += timedelta(days=7)
        if connection.execute(text("SELECT count(*) FROM dispatcher.webhooks")).scalar_one() < WEBHOOKS:
            connection.execute(text(_FLEET), {"accounts": ACCOUNTS, "webhooks": WEBHOOKS})
        ids = connection.scalars(text("SELECT id::text FROM dispatcher.webhooks ORDER BY id")).all()
    apart = (end - begin).total_seconds() * 1000 / requests
    for first in range(0, requests, _PIECE):
        last = min(first + _PIECE, requests) - 1
        given = {"start": begin.timestamp() * 1000, "apart": apart, "first": first, "last": last}
        servers.execute(_STORE, ids=array(ids), webhooks=len(ids), **given)


def _ms(began: float) -> float:
    return (perf_counter() - began) * 1000
