"""Replays: which events they send, in steps, and that whatever happens no event is sent twice."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.db.models import BulkRedelivery
from dispatcher.deliveries import missing as looking
from dispatcher.deliveries import selection as selecting
from dispatcher.deliveries.bulk_redelivery import cancel, count, get, order, skipped
from dispatcher.deliveries.missing import Missing, look_for_missing
from dispatcher.deliveries.selection import Counted, replay_of
from dispatcher.errors import AccountSuspended, DispatcherError, NotFound, WrongState
from dispatcher.ids import first_id_at
from dispatcher.settings import Settings
from tests.factories import (
    TESTER,
    change,
    change_webhook,
    deliver_all,
    deliveries,
    make_account,
    make_webhook,
    redeliver_more,
    rows,
)
from tests.many_rows import make_many, reading_less_than
from tests.receiver import Receiver
from workers.maintenance import redeliver as doing

HOUR = timedelta(hours=1)
HOOK = "https://example.com/"


@pytest.fixture(autouse=True)
def acme(database: Engine) -> str:
    return make_account(database)


def stored(event_type: str = "message.sent", **members: Any) -> UUID:
    return enqueue(event_type, {"id": 1}, account="acme", **members).event_id


def replayed(
    webhook: UUID, since: datetime | None = None, until: datetime | None = None, *, delivered: bool = False
) -> selecting.Selection:
    return replay_of(webhook, since=since or datetime.now(UTC) - HOUR, until=until, delivered=delivered)


def counted(database: Engine, webhook: UUID, account: str = "acme", **of: Any) -> Counted:
    with Session(database) as session:
        return count(session, find_account(session, account), replayed(webhook, **of))


def ordered(database: Engine, webhook: UUID, per_second: int = 1000, **of: Any) -> UUID:
    with Session(database) as session, session.begin():
        account = find_account(session, "acme")
        return order(session, account, replayed(webhook, **of), by=TESTER, per_second=per_second).id


def found(database: Engine, identifier: UUID) -> BulkRedelivery:
    with Session(database) as session:
        return get(session, find_account(session, "acme"), identifier)


def to_the_end(settings: Settings, database: Engine) -> int:
    """Steps, each a while after the other, until nothing is open. Returns how many were sent."""
    done = 0
    for _ in range(50):
        result = redeliver_more(settings)
        done += result["redelivered"]
        if not result["open"]:
            return done
        change(database, "UPDATE dispatcher.redeliveries SET used_until = used_until - interval '10 s'")
    raise AssertionError("it does not come to an end")


def events_of(database: Engine, webhook: UUID, state: str = "ready") -> Sequence[UUID]:
    return [each.event_id for each in deliveries(database) if each.webhook_id == webhook and each.state == state]


def test_a_new_webhook_gets_what_it_takes_since_then_oldest_first(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    early = stored()
    change(
        database, "UPDATE dispatcher.events SET id = (substr(id::text, 1, 9) || '0000' || substr(id::text, 14))::uuid"
    )
    since = datetime.now(UTC)
    wanted = [stored(), stored("message", app="shop"), stored("message.sent.late", app="bank")]
    stored("messages")
    wanted.append(stored(expires_at=datetime.now(UTC) - HOUR))
    make_webhook(database, settings, url=HOOK, account="other")
    enqueue("message.sent", 1, account="other")
    webhook = make_webhook(database, settings, url=receiver.url("/hook"), event_types=["message", "unheard.of"])
    own = stored()  # it takes this one itself
    assert counted(database, webhook.id, since=since) == (4, None, 0)
    identifier = ordered(database, webhook.id, since=since)
    assert to_the_end(settings, database) == 4
    assert events_of(database, webhook.id) == [*wanted, own]
    assert early not in events_of(database, webhook.id)
    ended = found(database, identifier)
    assert (ended.matched, ended.redelivered, skipped(ended), ended.finished_at is not None) == (4, 4, 0, True)
    deliver_all(settings)
    assert {delivery.state for delivery in deliveries(database) if delivery.webhook_id == webhook.id} == {"delivered"}
    assert len(receiver.received) == 5
    assert counted(database, webhook.id, since=since) == (0, None, 0)


def test_a_webhook_with_an_app_gets_only_that_apps(database: Engine, settings: Settings) -> None:
    wanted = stored(app="shop")
    stored(app="bank")
    stored()
    stored("webhook.test", app="shop")  # of another webhook
    webhook = make_webhook(database, settings, url=HOOK, app="shop")
    ordered(database, webhook.id)
    assert to_the_end(settings, database) == 1
    assert events_of(database, webhook.id) == [wanted]
    assert not any(delivery.bypasses_circuit for delivery in deliveries(database))


@pytest.mark.parametrize("delivered", [False, True])
def test_a_repaired_webhook_gets_what_it_did_not_acknowledge(
    database: Engine, settings: Settings, delivered: bool
) -> None:
    webhook = make_webhook(database, settings, url=HOOK)
    by_state = {state: stored() for state in ("discarded", "cancelled", "delivered", "waiting", "claimed")}
    for state, event in by_state.items():
        change(
            database,
            "UPDATE dispatcher.deliveries SET state = :state, attempt_count = 3,"
            " finished_at = CASE WHEN CAST(:state AS text) IN ('discarded', 'cancelled', 'delivered') THEN now() END,"
            " claimed_until = CASE WHEN CAST(:state AS text) = 'claimed' THEN now() + interval '1 min' END"
            " WHERE event_id = :event",
            state=state,
            event=event,
        )
    again = [by_state["discarded"], by_state["cancelled"], *([by_state["delivered"]] if delivered else [])]
    assert counted(database, webhook.id, delivered=delivered) == (len(again), None, 0)
    identifier = ordered(database, webhook.id, delivered=delivered)
    assert to_the_end(settings, database) == len(again)
    assert events_of(database, webhook.id) == again
    assert found(database, identifier).redelivered == len(again)
    assert not any(delivery.bypasses_circuit for delivery in deliveries(database))


@pytest.mark.parametrize("delivered", [False, True])
def test_what_was_acknowledged_is_known_though_its_delivery_is_gone(
    database: Engine, settings: Settings, delivered: bool
) -> None:
    webhook = make_webhook(database, settings, url=HOOK)
    for _ in range(2):
        stored()
    gone = deliveries(database)
    change(database, "DELETE FROM dispatcher.deliveries")
    for delivery, verdict in zip(gone, ("acknowledged", "rejected"), strict=True):
        change(
            database,
            "INSERT INTO dispatcher.attempts (delivery_id, number, id, verdict) VALUES (:id, 1, :id, :verdict)",
            id=delivery.id,
            verdict=verdict,
        )
    ordered(database, webhook.id, delivered=delivered)
    assert to_the_end(settings, database) == (2 if delivered else 1)
    assert (gone[0].event_id in events_of(database, webhook.id)) is delivered


def test_what_was_erased_is_counted_apart_and_not_sent(database: Engine, settings: Settings) -> None:
    erased, kept = stored(), stored()
    stored("other")
    change(database, "UPDATE dispatcher.events SET codec = 1, data = '' WHERE id = :id OR type = 'other'", id=erased)
    webhook = make_webhook(database, settings, url=HOOK, event_types=["message"])
    assert counted(database, webhook.id) == (1, None, 1)
    ordered(database, webhook.id)
    assert to_the_end(settings, database) == 1
    assert events_of(database, webhook.id) == [kept]


def test_it_ends_where_it_was_told_to(database: Engine, settings: Settings) -> None:
    stored()
    webhook = make_webhook(database, settings, url=HOOK)
    assert counted(database, webhook.id, until=datetime.now(UTC) - HOUR / 2).matched == 0
    assert counted(database, webhook.id, since=datetime.now(UTC) + HOUR).matched == 0
    assert counted(database, webhook.id, since=datetime(1, 1, 1, tzinfo=UTC)).matched == 1


def test_it_goes_on_in_small_steps_and_counts_on(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doing, "PIECE", 3)
    monkeypatch.setattr(doing, "MAX_LOOKED_AT", 6)
    monkeypatch.setattr(selecting, "COUNTED", 4)
    wanted = [stored("message.sent" if number % 3 else "other") for number in range(20)]
    webhook = make_webhook(database, settings, url=HOOK, event_types=["message"])
    identifier = ordered(database, webhook.id, per_second=4)
    assert (found(database, identifier).matched, found(database, identifier).counting) == (2, True)
    first = redeliver_more(settings)["redelivered"]
    assert 4 <= first <= 8
    assert first + to_the_end(settings, database) == 13
    assert events_of(database, webhook.id) == [event for number, event in enumerate(wanted) if number % 3]
    ended = found(database, identifier)
    assert (ended.matched, ended.counting, ended.redelivered) == (13, False, 13)


def test_a_step_that_breaks_off_leaves_all_as_it_was(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(12):
        stored()
    webhook = make_webhook(database, settings, url=HOOK)
    identifier = ordered(database, webhook.id, per_second=4)
    with monkeypatch.context() as patched:
        patched.setattr(doing, "used_up", None)  # all is done but the last thing before the commit
        with pytest.raises(TypeError):
            redeliver_more(settings)
    assert (deliveries(database), found(database, identifier).redelivered) == ([], 0)
    assert to_the_end(settings, database) == len(deliveries(database)) == 12


def test_a_cancelled_one_stays_where_it_is(database: Engine, settings: Settings) -> None:
    for _ in range(12):
        stored()
    webhook = make_webhook(database, settings, url=HOOK)
    identifier = ordered(database, webhook.id, per_second=1)
    done = redeliver_more(settings)["redelivered"]
    with Session(database) as session, session.begin():
        cancel(session, find_account(session, "acme"), identifier, by=TESTER)
    assert to_the_end(settings, database) == 0
    assert 1 <= len(deliveries(database)) == done < 12


def test_several_at_once_open_each_event_once(database: Engine, settings: Settings) -> None:
    for _ in range(60):
        stored()
    webhook = make_webhook(database, settings, url=HOOK)
    orders = [ordered(database, webhook.id) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(redeliver_more, [settings] * 3))
    to_the_end(settings, database)
    assert len(deliveries(database)) == 60
    assert sum(found(database, identifier).redelivered for identifier in orders) == 60


OPENED = (
    "INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at)"
    " VALUES (:event, :event, :webhook, 'waiting', now(), now())"
)


@pytest.mark.parametrize(
    "meanwhile",
    [
        OPENED,
        "UPDATE dispatcher.events SET codec = 1, data = '' WHERE id = :event",
        "DELETE FROM dispatcher.events WHERE id = :event",
        "UPDATE dispatcher.webhooks SET deleted_at = now() WHERE id = :webhook",
    ],
)
def test_what_others_do_between_looking_and_opening_stays_as_they_did_it(
    database: Engine, settings: Settings, meanwhile: str
) -> None:
    event = stored()
    webhook = make_webhook(database, settings, url=HOOK)
    identifier = ordered(database, webhook.id)
    real = doing.open_missing

    def opened_later(*arguments: Any, **options: Any) -> Any:
        change(database, meanwhile, event=event, webhook=webhook.id)
        return real(*arguments, **options)

    with patch.object(doing, "open_missing", opened_later):
        assert redeliver_more(settings)["redelivered"] == 0
    assert [each.state for each in deliveries(database)] == (["waiting"] if meanwhile == OPENED else [])
    assert skipped(found(database, identifier)) == 1


def test_an_event_from_a_clock_that_is_ahead_is_not_missed(database: Engine, settings: Settings) -> None:
    ahead = first_id_at(datetime.now(UTC) + timedelta(seconds=4))
    stored()
    change(database, "UPDATE dispatcher.events SET id = :ahead", ahead=ahead)
    webhook = make_webhook(database, settings, url=HOOK)
    ordered(database, webhook.id)
    assert to_the_end(settings, database) == 1


def test_a_webhook_that_is_deleted_meanwhile_ends_it(database: Engine, settings: Settings) -> None:
    stored()
    webhook = make_webhook(database, settings, url=HOOK)
    identifier = ordered(database, webhook.id)
    change_webhook(database, settings, webhook, "delete")
    assert to_the_end(settings, database) == 0
    ended = found(database, identifier)
    assert (skipped(ended), ended.finished_at is not None, deliveries(database)) == (1, True, [])


@pytest.mark.parametrize(
    ("statement", "error", "text"),
    [
        ("UPDATE dispatcher.webhooks SET enabled = false", WrongState, "is disabled"),
        ("UPDATE dispatcher.webhooks SET quarantined_at = now()", WrongState, "is quarantined"),
        ("UPDATE dispatcher.webhooks SET deleted_at = now()", NotFound, "no webhook"),
        ("UPDATE dispatcher.accounts SET suspended_at = now()", AccountSuspended, "is suspended"),
    ],
)
def test_where_nothing_would_be_sent_none_is_counted_or_ordered(
    database: Engine, settings: Settings, statement: str, error: type[DispatcherError], text: str
) -> None:
    webhook = make_webhook(database, settings, url=HOOK)
    change(database, statement)
    for ask in (counted, ordered):
        with pytest.raises(error, match=text):
            ask(database, webhook.id)
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []


def test_a_step_reads_what_it_looks_at_also_if_the_webhook_is_believed_to_have_nothing(
    database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url=HOOK, event_types=["message"])
    make_many(database, make_webhook(database, settings, url=HOOK).id)
    change(
        database,
        "INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at)"
        " SELECT id, id, :webhook, 'ready', now(), now() FROM dispatcher.events ORDER BY id LIMIT 3000",
        webhook=webhook.id,
    )
    newest_with = events_of(database, webhook.id)[-1]
    since = datetime.now(UTC) - timedelta(days=8)
    missing = Missing(account=webhook.account_id, selection=replayed(webhook.id, since=since), moment=datetime.now(UTC))
    with Session(database) as session:
        for after, room, sent in ((None, 1000, 0), (newest_with, 700, 700)):
            for table in ("events", "deliveries", "attempts"):
                with reading_less_than(2_500, session, table, (after, table)):
                    look = look_for_missing(session, missing, after, most=1000, room=room)
                assert (look.looked_at, len(look.events), look.reached is None) == (1000, sent, False)
            assert after is None or look.reached == look.events[-1]


def test_of_ever_new_types_no_event_is_compared_with_each(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url=HOOK, event_types=["message"])
    make_many(database, webhook.id)
    change(
        database,
        "UPDATE dispatcher.events SET type = 'message.' || encode(substr(uuid_send(id), 5, 4), 'hex') WHERE id IN ("
        " SELECT id FROM dispatcher.events ORDER BY id LIMIT 1000)",
    )
    since = datetime.now(UTC) - timedelta(days=8)
    missing = Missing(account=webhook.account_id, selection=replayed(webhook.id, since=since), moment=datetime.now(UTC))
    with Session(database) as session:
        given = missing.given(None, 1000)
        (plan,) = session.scalars(text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {looking._COUNT}"), given).one()
    assert _thrown_away(plan["Plan"]) < 10_000  # of a million pairs


def _thrown_away(node: dict[str, Any]) -> float:
    """How many pairs of rows the plan compared for nothing."""
    here = node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"]
    return float(here + sum(map(_thrown_away, node.get("Plans", []))))
