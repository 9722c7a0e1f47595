"""What recording an attempt writes, and what it leaves as it was."""

from datetime import timedelta
from uuid import uuid4

from sqlalchemy import Connection, Engine

from dispatcher import Event, enqueue, enqueue_many
from dispatcher.ids import new_id_text
from dispatcher.settings import Settings
from dispatcher.webhooks.contract import Verdict
from tests.factories import MESSAGE, RECEIVED, attempts, change, change_webhook, deliveries, make_webhook, rows
from tests.installations import worker_for
from workers.claims.claims import Claim, Claimer
from workers.claims.concurrency import Rooms
from workers.results.decide import Decision, Delivered, Release, Retry
from workers.results.record import Result, disable_webhook, record


def claimed(database: Engine, settings: Settings, claimer: Claimer) -> Claim:
    """A delivery's claim by this claimer."""
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    with database.begin() as connection:
        (claim,) = claimer.claim(connection, Rooms(), 1).claims
    return claim


def recorded(database: Engine, claim: Claim, owner: str, decision: Decision, *, counts: bool = True) -> bool:
    """Records an attempt; says whether it was written."""
    result = Result(claim.delivery_id, claim.number, 0, owner, decision, Verdict.TEMPORARY, counts=counts)
    with database.begin() as connection:
        return bool(record(connection, [result]).mine)


def test_only_the_claims_owner_writes(database: Engine, settings: Settings) -> None:
    claimer = Claimer()
    claim = claimed(database, settings, claimer)
    before = deliveries(database)
    assert not recorded(database, claim, str(uuid4()), Delivered())
    assert deliveries(database) == before
    assert attempts(database) == []
    assert recorded(database, claim, claimer.id, Delivered())
    assert not recorded(database, claim, claimer.id, Delivered())
    assert len(attempts(database)) == 1


def test_a_record_reads_no_claims_but_its_own(database: Engine, settings: Settings) -> None:
    claimer = Claimer()
    make_webhook(database, settings, url="http://127.0.0.1:9/")
    list(enqueue_many([Event(type=RECEIVED, data=MESSAGE, account="acme")] * 100))
    engine = worker_for(settings).loop_engine
    with engine.connect() as connection:
        connection.info.clear()  # the plan is made now, when the index of claims is small
        connection.exec_driver_sql("DEALLOCATE ALL")
        claims = claimer.claim(connection, Rooms(first=100), 100).claims
        connection.commit()
        before = _claims_read(connection)
        result = Result(claims[0].delivery_id, 1, 0, claimer.id, Delivered(), Verdict.ACKNOWLEDGED)
        assert len(record(connection, [result]).mine) == 1
        assert (len(claims), _claims_read(connection) - before) == (100, 0)


def _claims_read(connection: Connection) -> int:
    """Entries of the index of claimed deliveries, by this transaction."""
    query = "SELECT pg_stat_get_xact_tuples_returned('dispatcher.deliveries_claimed_idx'::regclass)"
    return int(connection.exec_driver_sql(query).scalar_one())


def test_the_most_a_batch_may_hold_is_kept_through_a_retry(database: Engine, settings: Settings) -> None:
    claimer = Claimer()
    claim = claimed(database, settings, claimer)
    change(database, "UPDATE dispatcher.deliveries SET batch_limit = 4")
    assert recorded(database, claim, claimer.id, Retry(timedelta(seconds=90), 1))
    assert [row.batch_limit for row in deliveries(database)] == [4]


def test_a_redelivery_that_was_released_unsent_passes_the_open_circuit_still(
    database: Engine, settings: Settings
) -> None:
    claimer = Claimer()
    claim = claimed(database, settings, claimer)
    change(database, "UPDATE dispatcher.deliveries SET bypasses_circuit = true")
    assert recorded(database, claim, claimer.id, Release(), counts=False)
    assert [(row.state, row.attempt_count, row.bypasses_circuit) for row in deliveries(database)] == [
        ("ready", 0, True)
    ]


def test_a_rule_disables_only_a_webhook_that_is_in_use_and_workers_see_it_by_the_version(
    database: Engine, settings: Settings
) -> None:
    in_use, by_hand, deleted = (make_webhook(database, settings, url="http://127.0.0.1:9/") for _ in range(3))
    change_webhook(database, settings, by_hand, "disable", reason="moving")
    change_webhook(database, settings, deleted, "delete")
    before = {row.id: row for row in rows(database, "SELECT * FROM dispatcher.webhooks")}
    with database.begin() as connection:
        done = [
            disable_webhook(connection, str(webhook.id), before[webhook.id].version, "http_410", new_id_text())
            for webhook in (in_use, by_hand, deleted)
        ]
    assert done == [True, False, False]
    after = {row.id: row for row in rows(database, "SELECT * FROM dispatcher.webhooks")}
    assert after[by_hand.id] == before[by_hand.id]
    assert after[deleted.id] == before[deleted.id]
    assert not after[in_use.id].enabled
    assert after[in_use.id].version == before[in_use.id].version + 1
