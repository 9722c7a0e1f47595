"""What somebody has locked, what cannot be written, and what was committed without an answer keeps nothing else."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from dispatcher import enqueue
from dispatcher.db.commits import Fate
from dispatcher.settings import Settings
from dispatcher.transport.exchange import Failure, FailureKind, Reply
from tests.behaviours import final
from tests.factories import (
    MESSAGE,
    RECEIVED,
    attempts,
    change,
    deliver_all,
    deliveries,
    lock_deliveries_of,
    make_webhook,
    rows,
)
from tests.integration.workers.looping import looping, seconds_until
from tests.receiver import Receiver
from tests.relay import relayed
from tests.stepped_loop import SteppedLoop
from workers.claims.claims import Claimer
from workers.claims.concurrency import Rooms
from workers.results import record as record_module

SLACK = 3  # times what is promised: the machine is busy


def states(database: Engine) -> dict[str, str]:
    """By event type."""
    found = rows(
        database, "SELECT e.type, d.state FROM dispatcher.deliveries d JOIN dispatcher.events e ON e.id = d.event_id"
    )
    return {row.type: row.state for row in found}


def test_a_locked_delivery_keeps_no_other_and_is_recorded_once_soon_after_the_lock(
    database: Engine, settings: Settings, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = receiver.gate()
    for name in ("locked", "free", "other"):
        receiver.script(f"/{name}", (gate, final(200)))
        make_webhook(database, settings, url=receiver.url(f"/{name}"), event_types=[name])
        enqueue(name, MESSAGE, account="acme")
    with looping(settings) as result:
        receiver.wait_for(3)
        with database.begin() as connection:
            lock_deliveries_of(connection, "locked")
            gate.open()
            took = seconds_until(lambda: list(states(database).values()).count("delivered") == 2)
            assert took < 0.5 * SLACK
            assert states(database)["locked"] == "claimed"
        assert seconds_until(lambda: states(database)["locked"] == "delivered") < 1 * SLACK
    assert result == [{"claimed": 3, "delivered": 3, "retried": 0, "discarded": 0}]
    assert [row.number for row in attempts(database)] == [1, 1, 1]
    assert "claim lost" not in capsys.readouterr().out


def test_of_a_batch_with_a_locked_delivery_all_are_recorded_with_their_one_request(
    database: Engine, settings: Settings, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = receiver.gate()
    receiver.script("/hook", (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"), contract={"batch_size": 10})
    for _ in range(4):
        enqueue(RECEIVED, MESSAGE, account="acme")
    with looping(settings):
        receiver.wait_for(1)
        with database.begin() as connection:
            locked = "SELECT 1 FROM dispatcher.deliveries WHERE id = :id FOR UPDATE"
            connection.execute(text(locked), {"id": deliveries(database)[1].id})
            gate.open()
            seconds_until(lambda: sum(row.state == "delivered" for row in deliveries(database)) == 3)
    assert {(row.state, row.attempt_count) for row in deliveries(database)} == {("delivered", 1)}
    (request,) = rows(database, "SELECT id, messages FROM dispatcher.requests")
    assert request.messages == 4
    assert [row.request_id for row in attempts(database)] == [request.id] * 4
    assert "recorded without its request" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "seen"),
    [("circuit_breakers", "failures = 3"), ("notices", "suppressed_count >= 3"), ("webhooks", "true")],
)
def test_results_wait_for_no_locked_row_of_their_webhook_and_nothing_is_forgotten(
    database: Engine, settings: Settings, receiver: Receiver, table: str, seen: str
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/status/500"), event_types=["failing"])
    make_webhook(database, settings, url=receiver.url("/hook"), event_types=["healthy"])
    enqueue("failing", MESSAGE, account="acme")
    deliver_all(settings)
    for name in ("failing", "failing", "healthy"):
        enqueue(name, MESSAGE, account="acme")
    key = "id" if table == "webhooks" else "webhook_id"
    with database.begin() as connection:
        connection.execute(text(f"SELECT 1 FROM dispatcher.{table} WHERE {key} = :id FOR UPDATE"), {"id": webhook.id})
        with ThreadPoolExecutor(1) as pool:
            loop = pool.submit(deliver_all, settings)
            took = seconds_until(
                lambda: sorted(row.state for row in deliveries(database)) == ["delivered", *["waiting"] * 3]
            )
            connection.commit()
            counted = f"SELECT 1 FROM dispatcher.{table} WHERE {key} = '{webhook.id}' AND {seen}"
            assert seconds_until(lambda: rows(database, counted)) < 1 * SLACK
            assert loop.result(20)["retried"] == 2
    assert took < 1 * SLACK
    assert len(attempts(database)) == 4


def test_a_rule_disables_a_webhook_once_its_row_is_free_again(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    rules = {"rules": {"410": {"verdict": "rejected", "disable_webhook": True}}}
    webhook = make_webhook(database, settings, url=receiver.url("/status/410"), contract=rules)
    enqueue("gone", MESSAGE, account="acme")
    enabled = f"SELECT 1 FROM dispatcher.webhooks WHERE id = '{webhook.id}' AND enabled"
    with ThreadPoolExecutor(1) as pool, database.begin() as connection:
        connection.execute(text("SELECT 1 FROM dispatcher.webhooks FOR UPDATE"))
        loop = pool.submit(deliver_all, settings)
        seconds_until(lambda: states(database) == {"gone": "discarded"})
        assert rows(database, enabled)
        connection.commit()
        assert seconds_until(lambda: not rows(database, enabled)) < 1 * SLACK
        loop.result(20)
    assert len(rows(database, "SELECT 1 FROM dispatcher.notices WHERE kind = 'webhook_disabled'")) == 1


def test_a_trial_whose_rate_somebody_has_locked_keeps_no_other(database: Engine, settings: Settings) -> None:
    limited = make_webhook(database, settings, url="http://127.0.0.1:9/", contract={"rate_limit": 10})
    other = make_webhook(database, settings, url="http://127.0.0.1:9/")
    change(database, "UPDATE dispatcher.rates SET used_until = now() - interval '1 hour'")
    change(
        database,
        "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trial_at)"
        " SELECT id, 5, now(), now(), now() - interval '1 second' FROM dispatcher.webhooks",
    )
    enqueue("any", MESSAGE, account="acme")

    def claim() -> list[str]:
        with database.begin() as connection:
            return [claim.webhook_id for claim in Claimer().claim_passing(connection, Rooms(), 10)]

    with ThreadPoolExecutor(1) as pool, database.begin() as connection:
        connection.execute(text("SELECT 1 FROM dispatcher.rates FOR UPDATE"))
        assert pool.submit(claim).result(20) == [str(other.id)]
    assert claim() == [str(limited.id)]


def test_a_locked_table_keeps_results_only_as_long_as_it_is_locked(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue("any", MESSAGE, account="acme")
    with ThreadPoolExecutor(1) as pool, database.begin() as connection:
        connection.execute(text("LOCK TABLE dispatcher.attempts IN ACCESS EXCLUSIVE MODE"))
        loop = pool.submit(deliver_all, settings)
        receiver.wait_for(1)
        seconds_until(lambda: rows(database, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        seconds_until(lambda: not rows(database, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        connection.commit()
        assert seconds_until(lambda: states(database)["any"] == "delivered") < 1 * SLACK
        assert loop.result(20)["delivered"] == 1
    assert len(receiver.received) == len(attempts(database)) == 1


@pytest.mark.parametrize("kind", [ValueError, KeyError])
def test_a_result_that_cannot_be_recorded_with_its_request_is_recorded_without_and_keeps_no_other(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: type[Exception],
) -> None:
    request_row = record_module._request_row

    def stumble(sent: Any, *arguments: Any, **named: Any) -> Any:
        if sent.exchange.request.url.endswith("/odd"):
            raise kind("planted-payload")
        return request_row(sent, *arguments, **named)

    monkeypatch.setattr(record_module, "_request_row", stumble)
    gate = receiver.gate()
    for path in ("/odd", "/hook"):
        receiver.script(path, *[(gate, final(200))] * 8)
        make_webhook(database, settings, url=receiver.url(path), event_types=[path.strip("/")])
    enqueue("odd", MESSAGE, account="acme")
    for _ in range(4):
        enqueue("hook", MESSAGE, account="acme")
    with looping(settings) as result:
        receiver.wait_for(5)
        gate.open()
    assert result == [{"claimed": 5, "delivered": 5, "retried": 0, "discarded": 0}]
    assert [row.state for row in deliveries(database)] == ["delivered"] * 5
    assert sorted(row.request_id is None for row in attempts(database)) == [False] * 4 + [True]
    assert len(receiver.received) == 5
    told = capsys.readouterr().out
    assert "result recorded without its request" in told
    assert kind.__name__ in told
    assert "planted-payload" not in told


def test_a_notice_that_cannot_be_recorded_keeps_no_result_and_no_other_notice(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "workers.results.consequences.fingerprint",
        lambda outcome: "x\0" if outcome.status == 418 else f"http_{outcome.status}",
    )
    for name in ("/status/418", "/status/500"):
        make_webhook(database, settings, url=receiver.url(name))
    enqueue("any", MESSAGE, account="acme")
    deliver_all(settings)
    assert sorted(row.state for row in deliveries(database)) == ["discarded", "waiting"]
    assert [row.fingerprint for row in rows(database, "SELECT * FROM dispatcher.notices")] == ["http_500"]
    assert len(rows(database, "SELECT 1 FROM dispatcher.circuit_breakers")) == 1


def test_what_was_recorded_without_an_answer_to_its_commit_is_not_called_lost(
    database: Engine, settings: Settings, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    make_webhook(database, settings, url=receiver.url("/status/500"))
    enqueue("any", MESSAGE, account="acme")
    with relayed(settings) as (relay, through):
        relay.lose_answer(after=b"INSERT INTO dispatcher.attempts")
        tally = deliver_all(through)
        assert relay.lost
    assert tally == {"claimed": 2, "delivered": 1, "retried": 1, "discarded": 0}
    assert sorted(row.state for row in deliveries(database)) == ["delivered", "waiting"]
    assert len(receiver.received) == len(attempts(database)) == 2
    (breaker,) = rows(database, "SELECT failures FROM dispatcher.circuit_breakers")
    assert breaker.failures == 1
    assert "claim lost" not in capsys.readouterr().out


def test_what_was_claimed_without_an_answer_to_its_commit_is_found_again_within_two_seconds(
    database: Engine, settings: Settings, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    enqueue("any", MESSAGE, account="acme")
    with relayed(settings) as (relay, through):
        relay.lose_answer(after=b"EXECUTE dispatcher_claim")
        with looping(through) as result:
            seconds_until(lambda: relay.lost)
            took = seconds_until(lambda: states(database)["any"] == "delivered")
    assert took < 2 * SLACK
    assert result == [{"claimed": 1, "delivered": 1, "retried": 0, "discarded": 0}]
    assert [(row.state, row.attempt_count) for row in deliveries(database)] == [("delivered", 1)]
    assert [row.number for row in attempts(database)] == [1]
    assert len(receiver.received) == 1
    assert "claim lost" not in capsys.readouterr().out


@pytest.fixture
def lose_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A function after which the next COMMIT of a loop has no answer; it says whether the transaction was made."""
    real, lost = Connection.commit, list[bool]()

    def commit(connection: Connection) -> None:
        if not lost:
            real(connection)
            return
        real(connection) if lost.pop() else connection.rollback()
        raise OperationalError("COMMIT", {}, Exception("no answer"), connection_invalidated=True)

    monkeypatch.setattr(Connection, "commit", commit)
    return lost.append


def write_all(one: SteppedLoop) -> None:
    def written() -> bool:
        one.write()
        results = one.loop._results
        return not (results or results._unanswered)

    assert seconds_until(written) < 10


@pytest.mark.parametrize("made", [True, False])
def test_results_that_come_while_a_commit_is_not_answered_are_recorded_after_it(
    database: Engine, settings: Settings, lose_commit: Callable[[bool], None], made: bool
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1/hook")
    for _ in range(2):
        enqueue("any", MESSAGE, account="acme")
    one = SteppedLoop(settings)
    one.loop._claim()
    one.send()
    one.answer(0, Reply(204, (), b""))
    lose_commit(made)
    one.write()
    one.answer(0, Reply(204, (), b""))
    write_all(one)
    assert [(row.state, row.attempt_count) for row in deliveries(database)] == [("delivered", 1)] * 2
    assert [row.outcome_unknown for row in attempts(database)] == [False, False]


def test_a_claim_that_was_not_made_does_not_release_the_next_one_of_the_same_delivery(
    database: Engine, settings: Settings, lose_commit: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that crashed may have forgotten a claim: what became of its transaction is not known then."""
    make_webhook(database, settings, url="http://127.0.0.1/hook")
    enqueue("any", MESSAGE, account="acme")
    monkeypatch.setattr("workers.results.writer.fate", lambda *_: Fate.UNKNOWN)
    one, another = SteppedLoop(settings), SteppedLoop(settings)
    lose_commit(False)
    one.loop._claim()
    one.loop._claim()
    assert len(one.send()) == 1
    write_all(one)
    another.loop._claim()
    assert another.send() == []
    one.answer(0, Reply(204, (), b""))
    write_all(one)
    assert [(row.state, row.attempt_count) for row in deliveries(database)] == [("delivered", 1)]


def forget_claims(database: Engine) -> None:
    """As a server does that crashed, or that was followed by a standby that had not received them."""
    forget = "state = 'ready', attempt_count = attempt_count - 1, claimed_by = NULL, claimed_until = NULL"
    change(database, f"UPDATE dispatcher.deliveries SET {forget}")


NOT_ATTEMPTED = Failure(FailureKind.NOT_SENT, "no slot")


@pytest.mark.parametrize("outcome", [None, Reply(204, (), b""), NOT_ATTEMPTED], ids=["in flight", "ended", "unsent"])
def test_an_attempt_whose_claim_a_crashed_database_forgot_is_not_made_again_by_its_loop(
    database: Engine, settings: Settings, outcome: Reply | Failure | None, capsys: pytest.CaptureFixture[str]
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1/hook")
    enqueue("any", MESSAGE, account="acme")
    one = SteppedLoop(settings)
    one.loop._claim()
    (attempt,) = one.send()
    if outcome is not None:
        one.answer(0, outcome)
    forget_claims(database)
    one.loop._claim()
    assert one.send() == ([attempt] if outcome is NOT_ATTEMPTED else [])
    if outcome is None or outcome is NOT_ATTEMPTED:
        one.answer(0, Reply(204, (), b""))
    write_all(one)
    assert [(row.state, row.attempt_count) for row in deliveries(database)] == [("delivered", 1)]
    assert [row.number for row in attempts(database)] == [1]
    assert not one.loop._held.attempts
    assert "claim lost" not in capsys.readouterr().out
