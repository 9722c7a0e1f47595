"""What an engine has after a week: requests to 500 webhooks of 40 accounts, spread over time, outcomes and answer times
as those of real receivers, and what they were made for."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from benchmarks.servers import Servers
from benchmarks.workload import make_fleet, message
from dispatcher.db.arrays import array
from dispatcher.db.partitions import PARTITIONED, create_partition, week_of
from dispatcher.ids import first_id_at
from dispatcher.states import Reason, State

REQUESTS, WEBHOOKS, ACCOUNTS = 1_500_000, 500, 40
SPAN = timedelta(days=7)
_PIECE, _STRETCH = 50_000, timedelta(hours=6)

# The first webhooks have most of them. Times are spread as those of real receivers; a tenth fails, in six ways.
_STORE = """
INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, status, failure, answer_headers,
  answer_cut, answer_unreadable, verdict, messages, started_at, duration)
SELECT (lpad(to_hex(CAST(ms AS bigint)), 12, '0') || '7000' || substr(md5(random()::text), 1, 16))::uuid,
  (CAST(:ids AS uuid[]))[1 + CAST(floor(:webhooks * power(random(), 3)) AS int)], 'POST', 'https://example.com/',
  repeat('Header: value of a header' || chr(10), 10),
  (ARRAY[500, 503, 404, 410, NULL, NULL, 200])[outcome],
  (ARRAY[NULL, NULL, NULL, NULL, 'timeout', 'dns', NULL])[outcome],
  'Server: bench', false, false,
  (ARRAY['temporary', 'temporary', 'rejected', 'rejected', 'temporary', 'temporary', 'acknowledged'])[outcome],
  1, to_timestamp(ms / 1000),
  make_interval(secs => exp(3.6 + 2 * (random() + random() + random() + random() - 2)) / 1000)
FROM (SELECT :start + g * CAST(:apart AS float8) AS ms, least(1 + CAST(floor(60 * random()) AS int), 7) AS outcome
      FROM generate_series(CAST(:first AS bigint), :last) g OFFSET 0) made
"""
# Of each request the only attempt of the only delivery of an event, whose ids are the request's but for four digits.
# What failed temporarily in the last hours waits for its retry.
_OF_REQUESTS = f"""
WITH r AS MATERIALIZED (
  SELECT r.id, overlay(r.id::text PLACING '7001' FROM 15)::uuid AS event_id,
    overlay(r.id::text PLACING '7002' FROM 15)::uuid AS delivery_id, r.verdict, r.started_at,
    w.id AS webhook_id, w.account_id, w.account_no,
    CASE WHEN r.verdict = 'acknowledged' THEN '{State.DELIVERED}'
      WHEN r.verdict = 'rejected' OR r.started_at < :waiting_from THEN '{State.DISCARDED}'
      ELSE '{State.WAITING}' END AS state
  FROM dispatcher.requests r JOIN dispatcher.webhooks w ON w.id = r.webhook_id WHERE r.id >= :first AND r.id < :end),
e AS (
  INSERT INTO dispatcher.events (id, account_id, type, subject, occurred_at, created_at, delivery_count, data)
  SELECT event_id, account_id, 'bench.w' || get_byte(uuid_send(id), 15) % 8, 'subject-' || substr(id::text, 20),
    started_at, started_at, 1, :data FROM r),
d AS (
  INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, account_no, size, state, reason, due_at, give_up_at,
    attempt_count, schedule_step, created_at, finished_at)
  SELECT delivery_id, event_id, webhook_id, account_no, octet_length(:data), state,
    CASE WHEN state = '{State.DISCARDED}'
      THEN CASE verdict WHEN 'rejected' THEN '{Reason.REJECTED}' ELSE '{Reason.EXHAUSTED}' END END,
    CASE WHEN state = '{State.WAITING}' THEN now() + make_interval(mins => 30 + CAST(15 * random() AS int))
      ELSE started_at END,
    started_at + interval '2 days', 1, CASE WHEN state = '{State.WAITING}' THEN 1 ELSE 0 END, started_at,
    CASE WHEN state <> '{State.WAITING}' THEN started_at END FROM r)
INSERT INTO dispatcher.attempts (delivery_id, number, id, request_id, verdict, created_at)
SELECT delivery_id, 1, id, id, verdict, started_at FROM r
"""
_WAITS_FOR = timedelta(hours=6)


def make_webhooks(servers: Servers) -> Sequence[UUID]:
    """The webhooks of all accounts, in an order that has nothing to do with whose they are."""
    urls = [servers.receiver.url()]
    made = [
        webhook
        for number in range(ACCOUNTS)
        for webhook in make_fleet(servers, urls * (WEBHOOKS // ACCOUNTS + number % 2)).ids
    ]
    random.Random(0).shuffle(made)  # noqa: S311 - the same in each run
    return made


def store_requests(servers: Servers, webhooks: Sequence[UUID], requests: int, begin: datetime, end: datetime) -> None:
    """Stores requests of this time, spread evenly over it; the first webhooks have most of them."""
    with servers.installation.engine.begin() as connection:
        moment = begin
        while moment < end + timedelta(days=7):
            for table in PARTITIONED:
                create_partition(connection, week_of(table, first_id_at(moment)))
            moment += timedelta(days=7)
    apart = (end - begin).total_seconds() * 1000 / requests
    for first in range(0, requests, _PIECE):
        last = min(first + _PIECE, requests) - 1
        given = {"start": begin.timestamp() * 1000, "apart": apart, "first": first, "last": last}
        servers.execute(_STORE, ids=array(list(webhooks)), webhooks=len(webhooks), **given)


def store_deliveries(servers: Servers, begin: datetime, end: datetime) -> None:
    """Stores what the requests of this time were made for: events, deliveries and attempts."""
    waiting_from, data = end - _WAITS_FOR, message()
    while begin < end:
        until = min(begin + _STRETCH, end)
        of_stretch = {"first": first_id_at(begin), "end": first_id_at(until)}
        servers.execute(_OF_REQUESTS, waiting_from=waiting_from, data=data, **of_stretch)
        begin = until
