"""What goes wrong for one item outside the loop's own steps costs that item only: an error, and the death of the
process that worked on it. For the loop's own steps: test_recovery."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import (
    MESSAGE,
    RECEIVED,
    TESTER,
    attempts,
    change,
    deliveries,
    make_account,
    make_webhook,
    redeliver_more,
    rows,
    sweep_once,
    upkeep_once,
)
from tests.installations import installation_for
from tests.integration.workers.dying import POISON, How, dies, run
from tests.integration.workers.notices.scenario import fail, notices, webhook_with_contact
from tests.integration.workers.tokens.token_server import TokenServer
from tests.mail_server import MailServer
from tests.receiver import Receiver
from workers import shared_memory
from workers.maintenance.redeliver import MOST_UNENDED
from workers.notices.mailer import Mailer
from workers.notices.send import send_due

HOWS = [How.ERROR, How.SIGKILL]
MOST_RUNS = 40


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this process and those that it starts find the journal."""
    (tmp_path / "memory").touch()
    monkeypatch.setenv(shared_memory.VARIABLE, str(tmp_path / "memory"))


def deaths(
    work: Callable[[Settings], object], settings: Settings, place: str, how: How, marker: Any, ended: Any
) -> int:
    """Does the work, each time in a new process, until this has ended. Returns how many died."""
    died = 0
    for _ in range(MOST_RUNS):
        died += dies(work, settings, place, how, str(marker))
        if ended():
            return died
    raise AssertionError(f"after {MOST_RUNS} runs it has not ended")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", ["read_answer", "token_request"])
def test_a_token_that_cannot_be_fetched_or_read(
    database: Engine, settings: Settings, receiver: Receiver, server: TokenServer, place: str, how: How
) -> None:
    token = {"access_token": POISON, "token_type": "Bearer", "expires_in": 3600}
    receiver.script("/poison", lambda _: Answer(200, body=json.dumps(token).encode()))
    for name, credentials in (
        ("bad", server.credentials(endpoint=receiver.url("/poison"), scope=POISON)),
        ("good", server.credentials()),
        ("plain", None),
    ):
        make_webhook(database, settings, url=receiver.url(f"/{name}"), event_types=[name], authorization=credentials)
    for _ in range(3):
        for name in ("bad", "good", "plain"):
            enqueue(name, MESSAGE, account="acme")

    def is_open() -> bool:
        return any(row.state in {"ready", "claimed"} for row in deliveries(database))

    def may_fetch() -> None:
        """As if the time were over that a dead worker had for its fetch."""
        change(database, "UPDATE dispatcher.tokens SET next_fetch_at = now()")

    where = f"workers.tokens.waiting.{place}"
    died = run(settings, where, how, is_open, marker=f"scope='{POISON}'", before_each=may_fetch)
    found = rows(
        database,
        "SELECT e.type, d.id, d.state, d.reason FROM dispatcher.deliveries d JOIN dispatcher.events e"
        " ON e.id = d.event_id",
    )
    assert {(row.state, row.reason) for row in found if row.type != "bad"} == {("delivered", None)}
    bad = Counter((row.state, row.reason) for row in found if row.type == "bad")
    if how == How.ERROR:
        assert (died, bad) == (0, {("waiting", None): 3})
        assert {row.failure for row in attempts(database)} == {None, "token"}
    else:
        assert bad == {("discarded", "render_failed"): 3}
        # At the first death all that wait for the token are to blame; then each is tried alone.
        assert died == 1 + 2 * 3
    sent = Counter(row.delivery_id for row in attempts(database))
    unknown = Counter(row.delivery_id for row in attempts(database) if row.outcome_unknown)
    assert all(sent[row.id] == 1 + unknown[row.id] for row in found if row.type != "bad")
    assert max(unknown[row.id] for row in found) <= 1


def mail(settings: Settings) -> None:
    send_due(installation_for(settings).engine, Mailer(settings, step_timeout=1.0, end_timeout=1.0))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", ["_problem", "render"])
def test_a_notice_that_cannot_be_read_or_written_as_a_mail(
    database: Engine, settings: Settings, place: str, how: How
) -> None:
    with MailServer() as server:
        with_mail = settings.model_copy(
            update={"smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none"}
        )
        webhooks = [
            webhook_with_contact(database, settings, name=name, contact_email=f"{name}@acme.test")
            for name in ("before", "bad", "after")
        ]
        for webhook in webhooks:
            fail(database, webhook)
        bad = webhooks[1].id

        def ended() -> bool:
            return not rows(database, "SELECT 1 FROM dispatcher.notices WHERE due_at <= now()")

        died = deaths(mail, with_mail, f"workers.notices.wording.{place}", how, bad, ended)
        change(
            database, "UPDATE dispatcher.notices SET claimed_until = now() - interval '1 s' WHERE claimed_until > now()"
        )
        abandoned = upkeep_once(settings)["notices_abandoned"]
        assert sorted(mail.recipients for mail in server.messages) == [("after@acme.test",), ("before@acme.test",)]
    (notice,) = notices(database, bad)
    assert (notice.sent_count, notice.due_at, notice.claimed_until) == (0, None, None)
    # What killed its process is not known then: its mail counts as one that may have been sent.
    expected = (0, 0, True) if how == How.ERROR else (1, 1, False)
    assert (died, abandoned, notice.quarantined_at is not None) == expected


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", ["_count", "_step"])
def test_a_bulk_redelivery_whose_steps_go_wrong(database: Engine, settings: Settings, place: str, how: How) -> None:
    orders = {}
    for account in ("before", "bad", "after"):
        make_account(database, account)
        make_webhook(database, settings, account=account, url="https://example.com/", event_types=[account])
        enqueue(account, MESSAGE, account=account)
        change(
            database,
            "UPDATE dispatcher.deliveries SET state = 'discarded', reason = 'rejected', finished_at = now()"
            " WHERE state = 'ready'",
        )
        with Session(database) as session, session.begin():
            made = order(session, find_account(session, account), Selection(), by=TESTER, per_second=100)
            orders[account] = made.id

    def the_order(account: str) -> Any:
        return rows(database, "SELECT * FROM dispatcher.redeliveries WHERE id = :id", id=orders[account])[0]

    def ended() -> bool:
        change(database, "UPDATE dispatcher.redeliveries SET used_until = used_until - interval '1 s'")
        others = [the_order(account) for account in ("before", "after")]
        return all(one.finished_at for one in others) and (
            how == How.ERROR or the_order("bad").cancelled_at is not None
        )

    died = deaths(redeliver_more, settings, f"workers.maintenance.redeliver.{place}", how, orders["bad"], ended)
    assert [the_order(account).redelivered for account in ("before", "after")] == [1, 1]
    assert Counter(row.state for row in deliveries(database)) == {"ready": 2, "discarded": 1}
    bad = the_order("bad")
    assert (bad.redelivered, bad.finished_at) == (0, None)
    if how == How.ERROR:
        assert (died, bad.cancelled_at, bad.unended_steps) == (0, None, 0)
    else:
        assert died == MOST_UNENDED


@pytest.mark.parametrize("how", HOWS)
def test_an_expired_claim_that_cannot_be_freed(
    database: Engine, settings: Settings, receiver: Receiver, how: How
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))
    for _ in range(5):
        enqueue(RECEIVED, MESSAGE, account="acme")
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = 'claimed', claimed_by = gen_random_uuid(), attempt_count = 1,"
        " claimed_until = now() - interval '1 s'",
    )
    bad = deliveries(database)[2].id
    died = dies(sweep_once, settings, "workers.maintenance.sweep._after", how, str(bad))
    if how == How.ERROR:
        others = [row for row in deliveries(database) if row.id != bad]
        assert {(row.state, row.attempt_count) for row in others} == {("ready", 1)}
        assert [row.delivery_id == bad for row in attempts(database)] == [False] * 4
        (left,) = [row for row in deliveries(database) if row.id == bad]
        assert left.state == "claimed"
        change(database, "UPDATE dispatcher.deliveries SET claimed_until = now() - interval '1 s'")
    assert died == (how != How.ERROR)
    sweep_once(settings)  # nothing that customers write is read here: what kills a sweep is no row
    assert {(row.state, row.attempt_count) for row in deliveries(database)} == {("ready", 1)}
    assert Counter(row.delivery_id for row in attempts(database)) == {row.id: 1 for row in deliveries(database)}


@pytest.mark.parametrize("place", ["_end_unclaimable", "_forget_keys", "remove_accounts", "_close_notices", "_fill_in"])
def test_a_part_of_upkeep_that_kills_its_process_keeps_no_other_from_running(
    database: Engine, settings: Settings, place: str
) -> None:
    webhook = webhook_with_contact(database, settings)
    enqueue(RECEIVED, MESSAGE, account="acme")
    fail(database, webhook)
    for statement in (
        "UPDATE dispatcher.webhooks SET enabled = false, disabled_reason = 'by hand'",
        "UPDATE dispatcher.deliveries SET give_up_at = now() WHERE state = 'ready'",
        "INSERT INTO dispatcher.idempotency_keys SELECT account_id, 'k', id, '', now() FROM dispatcher.events LIMIT 1",
        "UPDATE dispatcher.notices SET claimed_until = now() - interval '1 s'",
    ):
        change(database, statement)
    left = {
        "_end_unclaimable": "SELECT 1 FROM dispatcher.deliveries WHERE state = 'ready'",
        "_forget_keys": "SELECT 1 FROM dispatcher.idempotency_keys",
        "_close_notices": "SELECT 1 FROM dispatcher.notices WHERE claimed_until IS NOT NULL",
    }
    assert all(rows(database, statement) for statement in left.values())
    own = left.pop(place, None)

    def ended() -> bool:
        return not any(rows(database, statement) for statement in left.values())

    assert deaths(upkeep_once, settings, f"workers.maintenance.upkeep.{place}", How.SIGKILL, "", ended) > 0
    assert own is None or rows(database, own)
