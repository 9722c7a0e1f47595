"""Deliveries made by SQL where there are too many to enqueue: due, waiting for a retry, or long finished."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

from benchmarks.servers import Servers
from benchmarks.workload import message
from dispatcher.db.partitions import Partition, week_of
from dispatcher.ids import new_id
from dispatcher.states import State

_PIECE = 100_000
_AT_ONCE = 2

# A UUIDv7 of a moment; its other bits come from a seed, so that the statements for all tables make the same ids.
_V7 = """
CREATE OR REPLACE FUNCTION public.bench_v7(ms bigint, seed text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(md5(seed), 1, 3) || '8' || substr(md5(seed), 4, 15))::uuid $$
"""
_ROWS = """
FROM (SELECT g, bench_v7(CAST(:start + g / 50 AS bigint), :salt || 'e' || g) AS event_id,
             bench_v7(CAST(:start + g / 50 AS bigint), :salt || 'd' || g) AS delivery_id,
             bench_v7(CAST(:start + g / 50 AS bigint), :salt || 'r' || g) AS request_id,
             (CAST(:ids AS uuid[]))[1 + g % :webhooks] AS webhook_id
      FROM generate_series(CAST(:first AS bigint), :last) g) s
"""
_ACCOUNT_NO = "(SELECT w.account_no FROM dispatcher.webhooks w WHERE w.id = s.webhook_id)"
_EVENTS = f"""
INSERT INTO dispatcher.events (id, account_id, type, occurred_at, delivery_count, data)
SELECT event_id, (SELECT account_id FROM dispatcher.webhooks WHERE id = :any_id), 'bench.stored', now(), 1, :data
{_ROWS}"""
_OPEN = f"""
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, account_no, size, state, due_at, give_up_at, attempt_count,
  schedule_step)
SELECT delivery_id, event_id, webhook_id, {_ACCOUNT_NO}, octet_length(:data), CAST(:state AS text),
       now() + make_interval(secs => CAST(:due_from + :due_span * random() AS double precision)),
       now() + interval '2 days', :attempts, :attempts
{_ROWS}"""
_FINISHED = f"""
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, account_no, size, state, due_at, give_up_at, attempt_count,
  finished_at)
SELECT delivery_id, event_id, webhook_id, {_ACCOUNT_NO}, octet_length(:data), '{State.DELIVERED}',
       now(), now() + interval '2 days', 1, coalesce(to_timestamp(CAST(:ended AS double precision) / 1000), now())
{_ROWS}"""
_ATTEMPTS = f"""
INSERT INTO dispatcher.attempts (delivery_id, number, id, request_id, verdict)
SELECT delivery_id, 1, request_id, request_id, 'acknowledged'
{_ROWS}"""
_REQUESTS = f"""
INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, status, answer_headers,
  answer_excerpt, answer_cut, answer_unreadable, verdict, messages, started_at, duration)
SELECT request_id, webhook_id, 'POST', 'http://127.0.0.1:8000/ok', repeat('Header: value of a header' || chr(10), 10),
  204, 'Server: bench', '', false, false, 'acknowledged', 1, now(), interval '2 ms'
{_ROWS}"""


def store_due(servers: Servers, ids: Sequence[UUID], count: int, data: bytes | None = None) -> None:
    """Stores `count` deliveries, ready and due now, spread over the webhooks; of the usual message if not of `data`."""
    extra = {"data": data} if data is not None else {}
    _store(servers, ids, count, (_EVENTS, _OPEN), state=State.READY, due_from=-1, due_span=0, attempts=0, **extra)
    servers.execute("ANALYZE dispatcher.events, dispatcher.deliveries")


def store_waiting(servers: Servers, ids: Sequence[UUID], count: int, *, due_from: float, due_span: float) -> None:
    """Stores `count` deliveries whose first attempt failed: due in `due_from` to `due_from + due_span` seconds."""
    extra = {"state": State.WAITING, "due_from": due_from, "due_span": due_span, "attempts": 1}
    _store(servers, ids, count, (_EVENTS, _OPEN), **extra)
    servers.execute("VACUUM ANALYZE dispatcher.deliveries")


def store_finished(servers: Servers, ids: Sequence[UUID], count: int) -> None:
    """Stores `count` delivered ones with all their records, and leaves the tables as autovacuum leaves them in time."""
    _store(servers, ids, count, (_EVENTS, _FINISHED, _ATTEMPTS, _REQUESTS), ended=None)
    _vacuum(servers)


def store_week(servers: Servers, ids: Sequence[UUID], count: int, week: Partition) -> None:
    """The same as if they had been delivered in a week that has partitions."""
    start = week.first.int >> 80
    _store(servers, ids, count, (_EVENTS, _FINISHED, _ATTEMPTS, _REQUESTS), start=start, ended=start + count // 50)
    _vacuum(servers)


def _vacuum(servers: Servers) -> None:
    for table in ("deliveries", "events", "attempts", "requests"):
        servers.execute(f"VACUUM ANALYZE dispatcher.{table}")


def _store(servers: Servers, ids: Sequence[UUID], count: int, statements: Sequence[str], **extra: object) -> None:
    servers.execute(_V7)
    parameters = {
        # No week before this one has a partition.
        "start": max(int(time.time() * 1000) - count // 50, week_of("events", new_id()).first.int >> 80),
        "salt": str(uuid4()),
        "ids": list(ids),
        "webhooks": len(ids),
        "any_id": ids[0],
        "data": message(),
        **extra,
    }

    def store_piece(first: int) -> None:
        for statement in statements:
            servers.execute(statement, first=first, last=min(first + _PIECE, count) - 1, **parameters)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(store_piece, range(0, count, _PIECE)))
