"""What the database has on record at the end: deliveries with their attempts."""

import time
from collections import defaultdict
from uuid import UUID

from sqlalchemy import Engine, text

from tests.faults.ledgers import HELD_BACK, UNKNOWN, Row, Tried

DELIVERIES = """
SELECT d.id, d.event_id, d.webhook_id, d.reason,
       CASE WHEN d.state = 'ready' AND c.opened_at IS NOT NULL THEN :held_back ELSE d.state END AS state
FROM dispatcher.deliveries d LEFT JOIN dispatcher.circuit_breakers c ON c.webhook_id = d.webhook_id"""
ATTEMPTS = """
SELECT a.delivery_id, a.number, a.verdict, a.request_id,
       CASE WHEN a.outcome_unknown THEN :unknown ELSE coalesce(r.failure, r.status::text, 'no request') END AS outcome,
       extract(epoch FROM a.created_at)::float AS recorded,
       extract(epoch FROM r.started_at)::float AS began, extract(epoch FROM r.duration)::float AS took
FROM dispatcher.attempts a LEFT JOIN dispatcher.requests r ON r.id = a.request_id
WHERE a.created_at >= to_timestamp(:since) ORDER BY a.delivery_id, a.number"""
_SINCE = " WHERE d.created_at >= to_timestamp(:since)"


def read_rows(database: Engine, since: float = 0.0) -> list[Row]:
    """Deliveries that were stored after `since` (monotonic), and their attempts."""
    ahead = time.time() - time.monotonic()
    tried: defaultdict[UUID, list[Tried]] = defaultdict(list)
    with database.connect() as connection:
        for row in connection.execute(text(ATTEMPTS), {"unknown": UNKNOWN, "since": since + ahead}):
            tried[row.delivery_id].append(
                Tried(
                    row.outcome,
                    None if row.began is None else row.began - ahead,
                    row.took,
                    row.number,
                    row.verdict,
                    None if row.request_id is None else str(row.request_id),
                    row.recorded - ahead,
                )
            )
        rows = connection.execute(text(DELIVERIES + _SINCE), {"held_back": HELD_BACK, "since": since + ahead})
        return [
            Row(str(row.id), str(row.event_id), str(row.webhook_id), row.state, row.reason, tuple(tried[row.id]))
            for row in rows
        ]
