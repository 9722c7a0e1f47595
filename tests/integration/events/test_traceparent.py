"""The place in a trace that a producer gives is kept with the event, and shown wherever the event is."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from dispatcher import Accepted, Event, aenqueue, enqueue, enqueue_many
from dispatcher.cli.app import app
from dispatcher.settings import Settings
from tests.factories import change, deliver_all, make_account, make_webhook, rows
from tests.receiver import Receiver
from workers.results import attempt_log

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = f"00-{TRACE}-00f067aa0ba902b7-01"
OTHER = f"00-{TRACE}-1111111111111111-01"


def kept(database: Engine) -> list[str | None]:
    return [row.traceparent for row in rows(database, "SELECT traceparent FROM dispatcher.events ORDER BY id")]


def many(traceparent: str) -> None:
    list(enqueue_many([Event(type="a", data=1, account="acme", traceparent=traceparent)]))


@pytest.mark.parametrize(
    "give",
    [
        lambda traceparent: enqueue("a", 1, account="acme", traceparent=traceparent),
        lambda traceparent: asyncio.run(aenqueue("a", 1, account="acme", traceparent=traceparent)),
        many,
    ],
    ids=["enqueue", "aenqueue", "enqueue_many"],
)
def test_it_is_stored_with_the_event_and_one_that_is_not_valid_is_left_out(
    database: Engine, settings: Settings, give: Callable[[str], object]
) -> None:
    make_account(database)
    give(GIVEN)
    give("00-not-valid-01")
    assert kept(database) == [GIVEN, None]


def test_it_is_stored_in_a_transaction_of_the_caller(database: Engine, settings: Settings) -> None:
    make_account(database)
    with Session(database) as session, session.begin():
        enqueue("a", 1, account="acme", traceparent=GIVEN, session=session)
    assert kept(database) == [GIVEN]


def test_an_event_that_is_sent_again_in_another_trace_is_the_same_event(database: Engine, settings: Settings) -> None:
    make_account(database)

    def give(traceparent: str) -> Accepted:
        return enqueue("a", 1, account="acme", idempotency_key="k", traceparent=traceparent)

    first, again = give(GIVEN), give(OTHER)
    assert (again.event_id, again.repeated) == (first.event_id, True)
    assert kept(database) == [GIVEN]


def test_the_log_lines_of_its_attempts_have_the_trace_and_receivers_do_not(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(attempt_log.lines, "write", lambda lines: logged.extend(fields for _, _, fields in lines))
    make_webhook(database, settings, url=receiver.url("/hook"))
    accepted = enqueue("a", 1, account="acme", traceparent=GIVEN)
    enqueue("a", 1, account="acme")
    deliver_all(settings)
    assert {line["event_id"]: line.get("trace_id") for line in logged} == {
        str(accepted.event_id): TRACE,
        **{line["event_id"]: None for line in logged if line["event_id"] != str(accepted.event_id)},
    }
    assert len(logged) == 2
    assert [request.header("traceparent") for request in receiver.received] == [None, None]
    assert all(TRACE.encode() not in request.body for request in receiver.received)


def test_whatever_a_row_has_as_its_trace_does_not_keep_it_from_being_delivered(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    for odd in ("", "x", "é" * 1000, "\n\x1b"):
        enqueue("a", odd, account="acme")
        change(database, "UPDATE dispatcher.events SET traceparent = :odd WHERE traceparent IS NULL", odd=odd)
    deliver_all(settings)
    assert len(receiver.received) == 4


def test_the_command_line_shows_it(database: Engine, settings: Settings) -> None:
    make_account(database)
    accepted = enqueue("a", 1, account="acme", traceparent=GIVEN)
    assert _printed("event", "show", str(accepted.event_id), "--json")["traceparent"] == GIVEN
    (listed,) = _printed("event", "list", "--account", "acme", "--json")
    assert (UUID(listed["id"]), listed["traceparent"]) == (accepted.event_id, GIVEN)
    assert GIVEN in CliRunner().invoke(app, ["event", "show", str(accepted.event_id)]).output


def _printed(*words: str) -> Any:
    return json.loads(CliRunner().invoke(app, list(words)).output)
