"""Pure. What the children of a node measure. docs/metrics.md has the same as a table, as a test checks."""

from dispatcher.metrics.family import SECONDS, SIZES, WAITS, Family, Kind, Places
from dispatcher.states import Reason
from dispatcher.transport.exchange import FailureKind

KEPT_CLOSED = "kept_closed"  # a kept-alive connection that the receiver closed as it was used; else connection_reset
UNSENT = FailureKind.NOT_SENT.value
STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
OUTCOMES = ("delivered", "retried", "split", "released", "lost")
NOTICES_ENDED = ("sent", "postponed", "dropped", "refused", "unknown", "held_back", "unsubscribed", "quarantined")

DELIVERIES = Family(
    "dispatcher_deliveries",
    Kind.COUNTER,
    "Deliveries by what became of them after a claim, or when upkeep ended them; `lost`: another loop had taken over.",
    ("outcome", "reason"),
    (*((outcome, "") for outcome in OUTCOMES), *(("discarded", reason.value) for reason in Reason)),
)
REQUESTS = Family(
    "dispatcher_requests",
    Kind.COUNTER,
    "Requests to receivers that have ended, by the class of the status or the kind of failure.",
    ("status", "failure"),
    (*((status, "") for status in STATUSES), *(("", kind) for kind in (*map(str, FailureKind), KEPT_CLOSED))),
)
REQUEST_SECONDS = Family(
    "dispatcher_request_duration_seconds",
    Kind.HISTOGRAM,
    "How long requests to receivers took, connecting included.",
    buckets=SECONDS,
)
FIRST_ATTEMPT_SECONDS = Family(
    "dispatcher_first_attempt_delay_seconds",
    Kind.HISTOGRAM,
    "From an event's enqueueing to the beginning of a delivery's first attempt.",
    buckets=WAITS,
)
ACKNOWLEDGED_SECONDS = Family(
    "dispatcher_acknowledged_delay_seconds",
    Kind.HISTOGRAM,
    "From an event's enqueueing to the receiver's acknowledgement, after however many attempts.",
    buckets=WAITS,
)
IN_FLIGHT = Family("dispatcher_requests_in_flight", Kind.GAUGE, "Requests that have begun and not ended.")
CLAIM_SECONDS = Family(
    "dispatcher_claim_duration_seconds", Kind.HISTOGRAM, "How long claims took in the database.", buckets=SECONDS
)
CLAIM_SIZE = Family("dispatcher_claim_size", Kind.HISTOGRAM, "Deliveries that one claim took.", buckets=(0.0, *SIZES))
RESULTS_SECONDS = Family(
    "dispatcher_results_duration_seconds",
    Kind.HISTOGRAM,
    "How long a group of results took to be recorded.",
    buckets=SECONDS,
)
RESULTS_SIZE = Family(
    "dispatcher_results_size", Kind.HISTOGRAM, "Results that were recorded as one group.", buckets=SIZES
)
NOTICES = Family(
    "dispatcher_notices",
    Kind.COUNTER,
    "Notices that were due, by what became of them.",
    ("outcome",),
    tuple((ending,) for ending in NOTICES_ENDED),
)
TOKEN_FETCHES = Family(
    "dispatcher_token_fetches",
    Kind.COUNTER,
    "Requests for OAuth2 tokens.",
    ("outcome",),
    (("fetched",), ("failed",)),
)
QUARANTINED = Family(
    "dispatcher_webhooks_quarantined", Kind.COUNTER, "Webhooks that could not be read and were quarantined."
)
DEATHS = Family(
    "dispatcher_child_deaths",
    Kind.COUNTER,
    "Children that died at work and were replaced; `stuck`: they made no progress.",
    ("cause",),
    (("died",), ("stuck",)),
)

CLOCK_OFFSET = Family(
    "dispatcher_clock_offset_seconds", Kind.GAUGE, "How far the database's clock is ahead of this machine's."
)

FAMILIES = (
    DELIVERIES,
    REQUESTS,
    REQUEST_SECONDS,
    FIRST_ATTEMPT_SECONDS,
    ACKNOWLEDGED_SECONDS,
    IN_FLIGHT,
    CLAIM_SECONDS,
    CLAIM_SIZE,
    RESULTS_SECONDS,
    RESULTS_SIZE,
    NOTICES,
    TOKEN_FETCHES,
    QUARANTINED,
    DEATHS,
    CLOCK_OFFSET,
)
PLACES = Places(FAMILIES)
