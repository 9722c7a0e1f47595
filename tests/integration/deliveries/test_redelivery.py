"""Sending again and cancelling: what they change, what they refuse, and what two people at once get."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.deliveries.redelivery import cancel, redeliver
from dispatcher.errors import NotFound, WrongState
from dispatcher.settings import Settings
from dispatcher.states import TRANSITIONS, State
from schedules.catalog import DEFAULT
from schedules.timing import REAL_TIME, Timing
from tests.factories import TESTER, change, change_webhook, deliveries, make_account, make_webhook
from tests.factories import rows as found


@pytest.fixture
def delivery_id(database: Engine, settings: Settings) -> UUID:
    make_webhook(database, settings, url="https://example.com/")
    enqueue("message.sent", {"id": 1}, account="acme")
    (delivery,) = deliveries(database)
    identifier: UUID = delivery.id
    return identifier


def put(database: Engine, state: State) -> None:
    """Brings the delivery into a state, with all that it leaves behind."""
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = :state, attempt_count = 3, schedule_step = 2, unknown_in_a_row = 1,"
        " batch_limit = 1,"
        " reason = CASE WHEN CAST(:state AS text) = 'discarded' THEN 'rejected' END,"
        " claimed_until = CASE WHEN CAST(:state AS text) = 'claimed' THEN now() + interval '1 minute' END,"
        " finished_at = CASE WHEN CAST(:state AS text) IN ('delivered', 'discarded', 'cancelled')"
        " THEN now() - interval '1 hour' END, give_up_at = now() - interval '1 hour'",
        state=state,
    )


def redelivering(database: Engine, delivery_id: UUID, account: str = "acme", scale: float = 1.0) -> None:
    with Session(database) as session, session.begin():
        redeliver(session, find_account(session, account), delivery_id, Timing(scale), by=TESTER)


def cancelling(database: Engine, delivery_id: UUID, account: str = "acme") -> None:
    with Session(database) as session, session.begin():
        cancel(session, find_account(session, account), delivery_id, by=TESTER)


@pytest.mark.parametrize("state", [state for state in State if State.READY in TRANSITIONS[state]])
def test_redelivery_follows_the_table_of_transitions(database: Engine, delivery_id: UUID, state: State) -> None:
    put(database, state)
    if state in {State.DELIVERED, State.DISCARDED, State.CANCELLED}:
        redelivering(database, delivery_id)
        assert deliveries(database)[0].state == State.READY
    else:  # claimed and waiting become ready too, but not by a person
        with pytest.raises(WrongState, match=state) as refused:
            redelivering(database, delivery_id)
        assert ("cancel it first" in str(refused.value)) == (state == State.WAITING)
        assert deliveries(database)[0].state == state


@pytest.mark.parametrize("state", list(State))
def test_cancelling_follows_the_table_of_transitions(database: Engine, delivery_id: UUID, state: State) -> None:
    put(database, state)
    if State.CANCELLED in TRANSITIONS[state]:
        cancelling(database, delivery_id)
        (delivery,) = deliveries(database)
        assert (delivery.state, delivery.reason) == (State.CANCELLED, None)
        assert delivery.finished_at is not None
    else:
        with pytest.raises(WrongState):
            cancelling(database, delivery_id)
        assert deliveries(database)[0].state == state


@pytest.mark.parametrize(("deaths", "then"), [(0, 0), (1, 0), (2, 5), (7, 5)])
def test_what_killed_workers_is_tried_alone_when_it_is_redelivered(
    database: Engine, delivery_id: UUID, deaths: int, then: int
) -> None:
    put(database, State.DISCARDED)
    change(database, "UPDATE dispatcher.deliveries SET deaths = :deaths", deaths=deaths)
    redelivering(database, delivery_id)
    assert [row.deaths for row in deliveries(database)] == [then]


def test_a_redelivery_starts_the_schedule_anew_and_numbers_on(database: Engine, delivery_id: UUID) -> None:
    put(database, State.DISCARDED)
    redelivering(database, delivery_id, scale=0.5)
    (row,) = found(database, "SELECT *, due_at - now() AS due, give_up_at - now() AS span FROM dispatcher.deliveries")
    assert (row.schedule_step, row.unknown_in_a_row, row.batch_limit, row.attempt_count) == (0, 0, None, 3)
    assert (row.reason, row.finished_at, row.claimed_by, row.claimed_until) == (None, None, None, None)
    assert -timedelta(seconds=10) < row.due <= timedelta()
    assert DEFAULT.span * 0.5 - timedelta(seconds=10) < row.span <= DEFAULT.span * 0.5


@pytest.mark.parametrize("action", [redelivering, cancelling])
def test_of_two_people_at_once_one_learns_that_it_is_done(
    database: Engine, delivery_id: UUID, action: Callable[[Engine, UUID], None]
) -> None:
    put(database, State.DISCARDED if action is redelivering else State.WAITING)
    together = Barrier(4)

    def attempt(_: int) -> bool:
        together.wait()
        try:
            action(database, delivery_id)
        except WrongState:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [False, False, False, True]


def test_a_redelivery_rolled_back_never_was(database: Engine, delivery_id: UUID) -> None:
    put(database, State.DELIVERED)
    with Session(database) as session:
        redeliver(session, find_account(session, "acme"), delivery_id, REAL_TIME, by=TESTER)
        session.rollback()
    assert deliveries(database)[0].state == State.DELIVERED


def test_nothing_can_be_redelivered_to_a_deleted_webhook(
    database: Engine, settings: Settings, delivery_id: UUID
) -> None:
    put(database, State.DISCARDED)
    (row,) = found(database, "SELECT * FROM dispatcher.webhooks")
    change_webhook(database, settings, row, "delete")
    with pytest.raises(WrongState, match="webhook was deleted"):
        redelivering(database, delivery_id)


def test_what_is_no_longer_kept_cannot_be_redelivered(database: Engine, delivery_id: UUID) -> None:
    put(database, State.DISCARDED)
    change(database, "DELETE FROM dispatcher.events")
    with pytest.raises(WrongState, match="no longer kept"):
        redelivering(database, delivery_id)
    assert deliveries(database)[0].state == State.DISCARDED


@pytest.mark.parametrize("action", [redelivering, cancelling])
def test_another_accounts_delivery_does_not_exist(
    database: Engine, delivery_id: UUID, action: Callable[[Engine, UUID, str], None]
) -> None:
    make_account(database, "other")
    put(database, State.DISCARDED if action is redelivering else State.READY)
    before = deliveries(database)
    with pytest.raises(NotFound):
        action(database, delivery_id, "other")
    assert deliveries(database) == before
