"""Requests as they are shown: what was sent, or why it cannot be known."""

import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from dispatcher.console.exchanges import NoBody, Sent, exchange_of
from dispatcher.console.moments import read_moment
from dispatcher.deliveries.records import AttemptRecord, EventLine
from dispatcher.errors import InvalidFilter
from dispatcher.webhooks.contract import DeliveryContract, read_contract

ID, NOW = UUID(int=7), datetime(2026, 11, 29, 12, tzinfo=UTC)
ATTEMPT = AttemptRecord(
    id=ID,
    number=1,
    created_at=NOW,
    verdict="rejected",
    outcome_unknown=False,
    request_id=ID,
    method="POST",
    url="https://hooks.example.com/in?key=***",
    headers="Content-Type: application/json\nX-Own: it's",
    status=404,
    failure=None,
    failure_detail=None,
    answer_headers="Server: x",
    answer_excerpt=b"caf\xc3\xa9 \xff",
    answer_cut=False,
    answer_unreadable=False,
    started_at=NOW,
    duration=timedelta(seconds=1),
)
EVENT = EventLine(ID, None, "message.sent", None, NOW, None, NOW, 1, None, erased=False)
SENT = Sent(EVENT, b'{"n": 1.10}', "acme", ID, NOW - timedelta(days=1), DeliveryContract())


def test_the_request_is_shown_as_it_was_and_as_a_command_that_sends_it() -> None:
    exchange = exchange_of(ATTEMPT, SENT)
    assert exchange is not None
    assert exchange.request == (
        'POST https://hooks.example.com/in?key=***\nContent-Type: application/json\nX-Own: it\'s\n\n[{"n": 1.10}]'
    )
    command = shlex.split(exchange.curl.replace("\\\n", ""))
    headers = ["-H", "Content-Type: application/json", "-H", "X-Own: it's"]
    assert command == ["curl", "-X", "POST", ATTEMPT.url, *headers, "--data-binary", '[{"n": 1.10}]']
    assert exchange.answer == "404 Not Found\nServer: x\n\ncafé \\xff"


def test_the_body_follows_the_contract() -> None:
    contract = read_contract({"envelope": "object", "members": [["id", "event_id"], ["m", "data"]]})
    exchange = exchange_of(ATTEMPT, replace(SENT, contract=contract))
    assert exchange is not None
    assert exchange.body == '{"id":"' + str(ID) + '","m":{"n": 1.10}}'


@pytest.mark.parametrize(
    ("attempt", "sent", "why"),
    [
        ({"method": "GET"}, {}, NoBody.IN_URL),
        ({"headers": "Dispatcher-Batch-Size: 2"}, {}, NoBody.BATCH),
        ({}, {"event": None}, NoBody.GONE),
        ({}, {"data": None}, NoBody.GONE),
        ({}, {"contract": None}, NoBody.CHANGED),
        ({}, {"webhook_changed_at": NOW + timedelta(seconds=1)}, NoBody.CHANGED),
        ({}, {"data": b'"' + b"x" * 8_000 + b'"'}, NoBody.LONG),
    ],
)
def test_a_body_that_is_not_known_is_not_guessed(
    attempt: dict[str, object], sent: dict[str, object], why: NoBody
) -> None:
    exchange = exchange_of(replace(ATTEMPT, **attempt), replace(SENT, **sent))  # type: ignore[arg-type]
    assert exchange is not None
    assert exchange.no_body is why
    assert "--data-binary" not in exchange.curl


def test_what_is_no_longer_kept_is_not_shown() -> None:
    assert exchange_of(replace(ATTEMPT, method=None, url=None), SENT) is None
    answered = exchange_of(replace(ATTEMPT, answer_headers=None, answer_excerpt=None), SENT)
    assert answered is not None
    assert answered.answer is None


def test_a_time_is_read_in_the_zone_of_whoever_gives_it() -> None:
    zone = NOW.astimezone(UTC).tzinfo
    assert zone is not None
    assert read_moment("since", "", zone) is None
    assert read_moment("since", "2026-11-29T12:00", zone) == NOW
    assert read_moment("since", "2026-11-29T14:00+02:00", zone) == NOW
    for wrong in ("yesterday", "0001-01-01T00:00+23:00"):
        with pytest.raises(InvalidFilter, match="must be a date"):
            read_moment("since", wrong, zone)
