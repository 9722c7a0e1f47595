"""Pure. What the API shows. docs/metrics.md has the same as a table, as a test checks."""

from dispatcher.metrics.family import Family, Kind

REQUESTS = Family(
    "dispatcher_api_requests",
    Kind.COUNTER,
    "Requests to this API process; `unknown` is no route, 499 no answer, because the client had gone.",
    ("route", "method", "status"),
)
ACCEPTED = Family("dispatcher_events_accepted", Kind.COUNTER, "Events that this API process has stored.")
REFUSED = Family("dispatcher_events_refused", Kind.COUNTER, "Events that it has refused.", ("reason",))
AT_QUOTA = Family(
    "dispatcher_quota_refusals",
    Kind.COUNTER,
    "Requests that it has refused because their account is at a limit.",
    ("limit",),
)
UNCOUNTED = Family(
    "dispatcher_quota_uncounted",
    Kind.COUNTER,
    "Requests and events that it has let in without counting them for their account, because the broker was away.",
)


def _gauge(name: str, says: str, *labels: str) -> Family:
    return Family(f"dispatcher_{name}", Kind.GAUGE, says, labels)


DATABASE_UP = _gauge("database_up", "Whether the database answered what is shown here.")
BROKER_UP = _gauge("broker_up", "Whether the broker answered what is shown here.")
READ_SECONDS = _gauge("metrics_read_seconds", "How long database and broker took to answer it.")
CLOCK_OFFSET = _gauge("clock_offset_seconds", "How far the database's clock is ahead of this machine's.")

OPEN = _gauge(
    "open_deliveries",
    "Deliveries that have not ended, by state. Above 10,000 as the last vacuum counted them.",
    "state",
)
OLDEST_DUE = _gauge(
    "oldest_due_seconds",
    "For how long the oldest delivery has been due that nothing keeps: its webhook takes deliveries now, has no rate "
    "limit, and no request in flight.",
)
WAITING_OVERDUE = _gauge(
    "retry_overdue_seconds", "For how long the oldest retry has been due that the sweep has not made ready."
)
EXPIRED_CLAIMS = _gauge("expired_claims", "Claims that have expired and that the sweep has not freed.")
SUSPECTS = _gauge("suspects", "Deliveries that were in work when several processes died.")
CIRCUITS_OPEN = _gauge("circuits_open", "Webhooks whose circuit is open.")
NOTICES_DUE = _gauge(
    "notices_due", "Notices whose mail is due: to be sent now, after a failed try, or held back by a limit.", "state"
)
OLDEST_NOTICE = _gauge(
    "oldest_notice_due_seconds", "For how long the oldest mail has been due, if it is not held back."
)

PROCESSES = _gauge("processes", "Processes that were seen within 30 s.", "kind", "version")
HEARTBEAT_AGE = _gauge(
    "heartbeat_age_seconds", "How long ago a process of this kind was seen last; +Inf: none within an hour.", "kind"
)
HOST_FAULTS = _gauge(
    "host_faults",
    "1 while a process finds that its host can reach nobody: no name is looked up (dns), no address reached (route), "
    "no certificate accepted (tls).",
    "step",
)
LEASE_OVERDUE = _gauge(
    "lease_overdue_seconds", "For how long the sweep, or upkeep, has been due and nobody has done it.", "lease"
)
PARTITIONS_AHEAD = _gauge("partitions_ahead_seconds", "For what time ahead a table has partitions.", "table")
TABLE_BYTES = _gauge(
    "table_bytes", "What tables take with indexes and partitions, as the last vacuum or ANALYZE saw it.", "table"
)
CONNECTIONS = _gauge("database_connections", "Connections to the database, by the name of the application.", "name")
MOST_CONNECTIONS = _gauge("database_connections_limit", "The server's `max_connections`.")
OLDEST_SNAPSHOT = _gauge(
    "database_oldest_snapshot_seconds",
    "How long ago the oldest transaction began that keeps vacuum from removing rows.",
)
QUEUED = _gauge("broker_queue_messages", "Messages that wait in the broker for a worker.", "queue")

FAMILIES = (
    REQUESTS,
    ACCEPTED,
    REFUSED,
    AT_QUOTA,
    UNCOUNTED,
    DATABASE_UP,
    BROKER_UP,
    READ_SECONDS,
    CLOCK_OFFSET,
    OPEN,
    OLDEST_DUE,
    WAITING_OVERDUE,
    EXPIRED_CLAIMS,
    SUSPECTS,
    CIRCUITS_OPEN,
    NOTICES_DUE,
    OLDEST_NOTICE,
    PROCESSES,
    HEARTBEAT_AGE,
    HOST_FAULTS,
    LEASE_OVERDUE,
    PARTITIONS_AHEAD,
    TABLE_BYTES,
    CONNECTIONS,
    MOST_CONNECTIONS,
    OLDEST_SNAPSHOT,
    QUEUED,
)
