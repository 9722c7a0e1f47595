"""`dispatcher.enqueue_v1` in SQL does what `enqueue` does: the same rows, receipts and refusals for the same input."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import Engine

from dispatcher import Accepted, AccountSuspended, DispatcherError, InvalidEvent, KeyReused, UnknownAccount, enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.lifecycle import suspend
from dispatcher.event_types import MAX_LENGTH
from dispatcher.events.event import MAX_DATA_BYTES
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import TESTER, change, make_account, make_webhook, rows

SQLSTATES = {InvalidEvent: "WH001", UnknownAccount: "WH002", AccountSuspended: "WH003", KeyReused: "WH004"}
T = "message.inbound.received"
UTC_TIME = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
FIRST, LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
LATER = datetime.now(UTC) + timedelta(days=1)
ODD = "\u00e9\u20ac\U0001f600\x7f\x01\n\t\b\f\r\"\\/'$%:\u2028"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
# None of them is kept, and none is a reason to refuse the event.
NO_PLACES = (
    *("", "00", f"00-{TRACE}", f"00-{TRACE}-01-more", f"00-{TRACE}-01\n", f"ff-{TRACE}-01", f"00-{TRACE.upper()}-01"),
    *(f"01-{TRACE}-01more", f" 00-{TRACE}-01", f"00-{'0' * 32}{TRACE[32:]}-01", f"00-{TRACE[:33]}{'0' * 16}-01"),
)

# Each is enqueued by both, twice where it has a key, so that the second is a repetition.
TAKEN: list[dict[str, Any]] = [
    {"data": "{}"},
    {"data": ' { "b" : 1, "a" : [1, 2.50, 1e400, 12345678901234567890123, -0.0] }\n'},
    {"data": '{"a": 1, "a": 2}'},
    {"data": "null"},
    {"data": '"\\ud800 \\u0000"'},
    {"data": '"\u00e9\u20ac\U0001f600\x7f\u2028"'},
    {"data": "[" * 200 + "]" * 200},
    {"data": '"' + "x" * (MAX_DATA_BYTES - 2) + '"'},
    {"event_type": "a"},
    {"event_type": "a.b.c.d.e.f.g.h"},
    {"event_type": "A-_0." * 7 + "x"},
    {"event_type": "x" * MAX_LENGTH},
    {"event_type": "message.outbound.sent"},
    {"app": "shop"},
    {"app": "other"},
    {"app": "x" * 255, "subject": "\U0001f600" * 255},
    {"subject": ODD, "app": ODD},
    {"occurred_at": UTC_TIME},
    {"occurred_at": FIRST, "expires_at": LAST},
    {"occurred_at": datetime(2026, 1, 1, 0, 0, 0, 7, tzinfo=UTC), "expires_at": LATER},
    {"idempotency_key": "k"},
    {"idempotency_key": ODD, "subject": ODD, "app": ODD, "data": '"\u00e9"'},
    {"idempotency_key": "\u00e9" * 255, "occurred_at": UTC_TIME, "expires_at": LATER},
    {"traceparent": f"00-{TRACE}-01"},
    {"traceparent": f"01-{TRACE}-01-more"},
    {"traceparent": f"cc-{TRACE}-00", "idempotency_key": "traced"},
    *({"traceparent": text} for text in NO_PLACES),
    {"idempotency_key": "micro", "occurred_at": datetime(123, 1, 1, 0, 0, 0, 120, tzinfo=UTC)},
]
NO_TYPES = ("", ".", "a.", ".a", "a..b", "a b", "\u00e9", "a\n", "a.b.c.d.e.f.g.h.i", "x" * (MAX_LENGTH + 1), None)
NO_JSON = (
    *("", " ", "{", "[1,]", '{"a":1,}', "NaN", "[Infinity]", "-", "01", "1.", ".5", "'a'", "nul", '"\n"', '"\x01"'),
    *("\ufeff1", "1\x0b", "1 2", '"\\x"', '"\\u12"', "{1: 2}", "\u00a01", "[" * 100_000 + "]" * 100_000),
)
NAMES = ("account", "app", "subject", "idempotency_key")
REFUSED: list[tuple[type[DispatcherError], dict[str, Any]]] = [
    *((InvalidEvent, {"event_type": name}) for name in NO_TYPES),
    *((InvalidEvent, {field: value}) for field in NAMES for value in ("", "x" * 256)),
    *((InvalidEvent, {"data": text}) for text in NO_JSON),
    (InvalidEvent, {"data": '"' + "x" * (MAX_DATA_BYTES - 1) + '"'}),
    (InvalidEvent, {"data": '"' + "\u00e9" * (MAX_DATA_BYTES // 2) + '"'}),
    (InvalidEvent, {"occurred_at": datetime(1, 12, 31, tzinfo=UTC)}),
    (InvalidEvent, {"expires_at": datetime(9999, 1, 1, tzinfo=UTC)}),
    (UnknownAccount, {"account": "nobody"}),
    (AccountSuspended, {"account": "away"}),
    (KeyReused, {"idempotency_key": "used"}),
    (KeyReused, {"idempotency_key": "used", "data": "1 "}),
    (KeyReused, {"idempotency_key": "used", "data": "1", "subject": "s"}),
    (KeyReused, {"idempotency_key": "used", "data": "1", "occurred_at": UTC_TIME}),
]
OPTIONAL = ("subject", "app", "idempotency_key", "occurred_at", "expires_at", "traceparent")
_CALL = """SELECT * FROM dispatcher.enqueue_v1(
    account => %(account)s, event_type => %(event_type)s, data => %(data)s, subject => %(subject)s, app => %(app)s,
    idempotency_key => %(idempotency_key)s, occurred_at => %(occurred_at)s, expires_at => %(expires_at)s,
    traceparent => %(traceparent)s)"""
_EVENT = """
SELECT a.name AS account, e.app, e.type, e.subject, e.occurred_at, e.expires_at, e.delivery_count, e.codec, e.data,
  e.traceparent,
  substr(e.id::text, 15, 1) AS version,
  ('x0000' || translate(left(e.id::text, 13), '-', ''))::bit(64)::bigint / 1000.0
    - extract(epoch FROM e.created_at) AS ahead
FROM dispatcher.events e JOIN dispatcher.accounts a ON a.id = e.account_id WHERE e.id = :id
"""
_DELIVERIES = """
SELECT d.webhook_id, d.state, d.account_no, d.size, d.give_up_at - d.due_at AS span,
  d.give_up_at = e.expires_at AS ends, d.due_at = e.created_at AS due, substr(d.id::text, 15, 1) AS version,
  d.attempt_count, d.schedule_step
FROM dispatcher.deliveries d JOIN dispatcher.events e ON e.id = d.event_id WHERE d.event_id = :id ORDER BY 1
"""
_KEYS = """
SELECT k.key, k.digest, k.expires_at - e.created_at AS life FROM dispatcher.idempotency_keys k
JOIN dispatcher.events e ON e.id = k.event_id WHERE k.event_id = :id
"""


@pytest.fixture
def connection(database: Engine, settings: Settings) -> Iterator[Any]:
    connection = psycopg2.connect(settings.database_url.get_secret_value().replace("+psycopg2", ""))
    connection.autocommit = True
    yield connection
    connection.close()


@pytest.fixture(autouse=True)
def accounts(database: Engine, settings: Settings, installation: Installation) -> None:
    for number, fields in enumerate(
        ({"event_types": ["*"]}, {"event_types": ["message", "a"]}, {"app": "shop"}, {"app": "\U0001f600"})
    ):
        make_webhook(database, settings, url=f"https://example.com/{number}", **fields)  # type: ignore[arg-type]
    make_account(database, "away")
    with installation.transaction() as session:
        suspend(session, find_account(session, "away"), by=TESTER)


def in_sql(connection: Any, given: dict[str, Any]) -> Accepted:
    with connection.cursor() as cursor:
        cursor.execute(_CALL, {**dict.fromkeys(OPTIONAL), **given})
        (row,) = cursor.fetchall()
    return Accepted(UUID(str(row[0])), row[1], repeated=row[2])


def in_python(given: dict[str, Any]) -> Accepted:
    arguments = dict(given)
    return enqueue(arguments.pop("event_type"), arguments.pop("data").encode(), **arguments)


def stored(database: Engine, event_id: UUID, given: dict[str, Any]) -> list[Any]:
    """What is stored of an event, but for what differs between any two: ids, and times of now."""
    (event,) = [dict(row._mapping) for row in rows(database, _EVENT, id=event_id)]
    assert abs(event.pop("ahead")) < 5
    if "occurred_at" not in given:
        assert abs(event.pop("occurred_at") - datetime.now(UTC)) < timedelta(minutes=1)
    found = [dict(row._mapping) for row in rows(database, _DELIVERIES, id=event_id)]
    for one in found:
        if one["ends"]:  # the time that is left differs
            del one["span"]
    return [event, found, [dict(row._mapping) for row in rows(database, _KEYS, id=event_id)]]


def test_both_store_the_same_rows(database: Engine, connection: Any) -> None:
    for given in ({"account": "acme", "event_type": T, "data": "1", **one} for one in TAKEN):
        one = in_python(given)
        by_python = stored(database, one.event_id, given)
        if "idempotency_key" in given:  # each knows the other's key: the digests are equal
            assert in_sql(connection, given) == Accepted(one.event_id, one.deliveries, repeated=True), given
            change(database, "DELETE FROM dispatcher.idempotency_keys")
        other = in_sql(connection, given)
        assert (other.deliveries, other.repeated, other.event_id == one.event_id) == (one.deliveries, False, False)
        assert stored(database, other.event_id, given) == by_python, given
        if "idempotency_key" in given:
            assert in_python(given) == Accepted(other.event_id, one.deliveries, repeated=True), given


def test_both_refuse_the_same_and_store_nothing(database: Engine, connection: Any) -> None:
    in_python({"account": "acme", "event_type": T, "data": "1", "idempotency_key": "used"})
    for kind, given in ((kind, {"account": "acme", "event_type": T, "data": "0", **one}) for kind, one in REFUSED):
        with pytest.raises(kind) as by_python:
            in_python(given)
        with pytest.raises(psycopg2.Error) as by_sql:
            in_sql(connection, given)
        refusal, said = by_sql.value.diag, str(by_python.value)
        assert (refusal.sqlstate, bool(refusal.message_hint)) == (SQLSTATES[kind], True), given
        if isinstance(by_python.value, InvalidEvent):
            field = {"type": "event_type"}.get(by_python.value.field, by_python.value.field)
            assert refusal.column_name == field, given
            said = f"{field} {by_python.value.reason}"
            if said.startswith("data is not JSON"):  # where, each says in its own way or not at all
                said = "data is not JSON"
        assert refusal.message_primary == said, given
    assert len(rows(database, "SELECT FROM dispatcher.events")) == 1


@pytest.mark.parametrize(
    "setting",
    [
        "standard_conforming_strings = off",
        "bytea_output = escape",
        "DateStyle = 'SQL, DMY'",
        "TimeZone = 'Asia/Kolkata'",
    ],
)
def test_what_the_callers_session_says_of_texts_and_times_changes_nothing(connection: Any, setting: str) -> None:
    given = {"account": "acme", "event_type": "a", "data": "1", "subject": ODD, "idempotency_key": "k"}
    given |= {"occurred_at": UTC_TIME, "expires_at": LATER}
    first = in_python(given)
    with connection.cursor() as cursor:
        cursor.execute(f"SET {setting}")
    assert in_sql(connection, given) == Accepted(first.event_id, first.deliveries, repeated=True)
