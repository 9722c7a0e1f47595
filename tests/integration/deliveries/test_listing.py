"""Pages of deliveries are right for every filter, whatever there is, and go on to the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import product
from random import Random
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from sqlalchemy import Engine, Row
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.db import of_webhooks
from dispatcher.deliveries import listing
from dispatcher.deliveries.history import list_deliveries
from dispatcher.errors import InvalidFilter
from dispatcher.ids import new_id, time_of
from dispatcher.settings import Settings
from dispatcher.states import Reason, State
from tests.factories import change, make_account, make_webhook, rows

_MAKE = """
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, reason, due_at, give_up_at, schedule_step)
SELECT *, now(), now(), 0
FROM unnest(CAST(:id AS uuid[]), CAST(:event_id AS uuid[]), CAST(:webhook_id AS uuid[]), CAST(:state AS text[]),
            CAST(:reason AS text[]))"""


@pytest.fixture
def made(database: Engine, settings: Settings) -> Sequence[Row[Any]]:
    """Deliveries in all states to seven webhooks of acme, some with very many and some with few, of 60 events within 3
    seconds; and some of another account. Those of acme, newest first."""
    random = Random(18)
    make_account(database, "other")
    busy = [make_webhook(database, settings, url="https://example.com/").id for _ in range(7)]
    others = [make_webhook(database, settings, url="https://example.com/", account="other").id for _ in range(2)]
    many = []
    for _ in range(60):
        at = 1_700_000_000_000_000_000 + random.randrange(3_000) * 1_000_000
        event = new_id(at)
        for place, webhook in enumerate([*busy, *others]):
            if random.random() > (0.9, 0.8, 0.3, 0.1, 0.05, 0.02, 0.0, 0.5, 0.5)[place]:
                continue
            state = random.choice([*State, State.DELIVERED, State.DELIVERED])
            reason = random.choice([*Reason]) if state == State.DISCARDED else None
            many.append({"id": new_id(at), "event_id": event, "webhook_id": webhook, "state": state, "reason": reason})
    change(database, _MAKE, **{column: [one[column] for one in many] for column in many[0]})
    change(database, "UPDATE dispatcher.webhooks SET deleted_at = now() WHERE id = :id", id=busy[3])
    return rows(
        database,
        "SELECT d.* FROM dispatcher.deliveries d JOIN dispatcher.webhooks w ON w.id = d.webhook_id JOIN"
        " dispatcher.accounts a ON a.id = w.account_id WHERE a.name = 'acme' ORDER BY d.id DESC",
    )


@contextmanager
def looking_at(most: int) -> Iterator[None]:
    with (
        patch.object(listing, "LOOKED_AT", most),
        patch.object(of_webhooks, "LOOKED_AT", most),
        patch.object(of_webhooks, "_SIFTED_AT_ONCE", 3),
    ):
        yield


def walked(database: Engine, limit: int, **wanted: Any) -> tuple[list[UUID], int]:
    """What all pages show, and how many they are."""
    found, pages, before = list[UUID](), 0, None
    with Session(database) as session:
        account = find_account(session, "acme")
        while True:
            page = list_deliveries(session, account, before=before, limit=limit, **wanted)
            assert len(page.deliveries) <= limit
            found += [line.id for line in page.deliveries]
            pages += 1
            if page.before is None:
                return found, pages
            assert before is None or wanted.get("event") or page.before < before, "it goes on"
            before = page.before


def test_every_combination_of_filters_shows_what_it_says_once_and_in_order(
    database: Engine, made: Sequence[Row[Any]]
) -> None:
    webhooks = [None, made[0].webhook_id, made[-1].webhook_id]
    times = [(None, None), (time_of(made[-40].id), time_of(made[40].id)), (None, time_of(made[100].id))]
    states = [(None, None), (None, Reason.EXHAUSTED), (State.DISCARDED, Reason.REJECTED)]
    states += [(state, None) for state in State]
    many = 0
    for looked_at, limit in ((7, 3), (60, 10), (10_000, 100)):
        with looking_at(looked_at):
            for webhook, (since, until), (state, reason) in product(webhooks, times, states):
                wanted = {"webhook": webhook, "since": since, "until": until, "state": state, "reason": reason}
                fitting = [
                    each.id
                    for each in made
                    if webhook in {None, each.webhook_id}
                    and (since is None or time_of(each.id) >= since)
                    and (until is None or time_of(each.id) < until)
                    and state in {None, each.state}
                    and reason in {None, each.reason}
                ]
                found, pages = walked(database, limit, **wanted)
                assert found == fitting, (wanted, looked_at)
                many += pages > 1
    assert many > 50


def test_those_of_an_event_are_all_shown_by_webhook_the_newest_first(
    database: Engine, made: Sequence[Row[Any]]
) -> None:
    events = {row.event_id for row in made[:20]}
    for event, looked_at, state in product(events, (2, 10_000), (None, State.DELIVERED)):
        of_event = [row for row in made if row.event_id == event and state in {None, row.state}]
        expected = [row.id for row in sorted(of_event, key=lambda row: row.webhook_id, reverse=True)]
        with looking_at(looked_at):
            assert walked(database, 2, event=event, state=state)[0] == expected
            first = of_event[0] if of_event else made[0]
            both = walked(database, 2, event=event, webhook=first.webhook_id, state=state)[0]
            assert both == ([first.id] if of_event else [])


def test_a_page_of_an_event_goes_on_after_nothing_of_another_event(database: Engine, made: Sequence[Row[Any]]) -> None:
    one, other = made[0], next(row for row in made if row.event_id != made[0].event_id)
    with Session(database) as session:
        page = list_deliveries(session, find_account(session, "acme"), event=one.event_id, before=other.id)
    assert page == type(page)([], None)


def test_a_reason_of_what_was_not_discarded_is_refused_in_words(database: Engine, made: Sequence[Row[Any]]) -> None:
    with pytest.raises(InvalidFilter, match="reason is of discarded deliveries only, and `state` is `delivered`"):
        walked(database, 10, state=State.DELIVERED, reason=Reason.REJECTED)


def test_too_many_webhooks_are_not_walked_through_for_a_list_of_all(database: Engine, made: Sequence[Row[Any]]) -> None:
    with patch.object(of_webhooks, "MOST_WEBHOOKS", 6):
        for state in (None, *State):
            with pytest.raises(InvalidFilter, match="webhook is required: the account has more than 6 webhooks"):
                walked(database, 10, state=state)
        assert walked(database, 10, webhook=made[0].webhook_id)[0]
        assert walked(database, 10, event=made[0].event_id)[0]


def test_one_webhook_with_all_the_deliveries_is_gone_through_in_large_steps(
    database: Engine, settings: Settings
) -> None:
    webhooks = [make_webhook(database, settings, url="https://example.com/").id for _ in range(3)]
    change(
        database,
        "INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), :webhook, 'delivered', now(), now()"
        " FROM generate_series(1, 2500)",
        webhook=webhooks[0],
    )
    with looking_at(1000):
        found, pages = walked(database, 10, state=State.CANCELLED)
        assert (found, pages) == ([], 1), "these have an index"
        change(
            database,
            "UPDATE dispatcher.deliveries SET state = 'claimed', claimed_until = now() + :long",
            long=timedelta(1),
        )
        found, pages = walked(database, 10, state=State.DELIVERED)
    assert (found, pages) == ([], 3)
