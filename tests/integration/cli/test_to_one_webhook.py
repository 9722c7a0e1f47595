"""`dispatcher event send-again` and `dispatcher webhook replay`."""

from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.cli import redeliveries as following
from dispatcher.db.models import Webhook
from dispatcher.settings import Settings
from tests.factories import change, deliveries, make_account, make_webhook, redeliver_more, rows
from tests.integration.cli.conftest import Cli


@pytest.fixture
def events(database: Engine) -> list[UUID]:
    make_account(database)
    return [enqueue(name, 1, account="acme").event_id for name in ("taken", "taken.too", "other")]


@pytest.fixture
def webhook(database: Engine, settings: Settings, events: list[UUID]) -> Webhook:
    return make_webhook(database, settings, url="https://example.com/", name="orders", event_types=["taken"])


def test_an_event_is_sent_to_a_webhook_by_its_name(
    cli: Cli, database: Engine, events: list[UUID], webhook: Webhook, broker: redis.Redis
) -> None:
    broker.flushall()
    ran = cli("event", "send-again", events[2], "--webhook", "orders")
    (delivery,) = deliveries(database)
    assert ran.out == f"delivery {delivery.id} of it is due\n"
    assert broker.llen("deliver") == 1
    assert cli("event", "send-again", events[2], "--webhook", webhook.id).out.endswith("is on its way already\n")
    again = cli("event", "send-again", events[2], "--webhook", "orders", "--account", "acme", "--json").document
    assert again == {"delivery_id": str(delivery.id), "opened": False}
    change(database, "UPDATE dispatcher.webhooks SET enabled = false")
    refused = cli("event", "send-again", events[2], "--webhook", "orders")
    assert (refused.status, "the webhook is disabled" in refused.err) == (1, True)


def test_a_replay_is_counted_ordered_and_its_end_reported(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(database, "UPDATE dispatcher.events SET codec = 1, data = '' WHERE type = 'taken.too'")
    replay = ("webhook", "replay", "orders", "--since")
    ran = cli(*replay, "1m", "--dry-run")
    assert (ran.out, ran.err) == ("1 would be sent\n", "besides, 1 cannot be sent: their message was erased\n")
    assert "are no longer kept" in cli(*replay, "2020-01-01", "--dry-run").err
    assert cli(*replay, "1m", "--dry-run", "--json").document == {
        "matched": 1,
        "matched_complete": True,
        "erased": 1,
        "kept_since": None,
    }
    asked = cli(*replay, "1m")
    assert (asked.status, "1 events match: give --yes" in " ".join(asked.err.replace("│", " ").split())) == (2, True)
    assert cli("webhook", "replay", "orders", "--yes").status == 2  # since when?
    assert rows(database, "SELECT 1 FROM dispatcher.redeliveries") == []
    monkeypatch.setattr(following.time, "sleep", lambda _: redeliver_more(settings))
    ran = cli(*replay, "1m", "--yes")
    (row,) = rows(database, "SELECT * FROM dispatcher.redeliveries")
    assert ran.out.endswith(f"replay {row.id} is finished: 1 sent\n")
    assert [delivery.state for delivery in deliveries(database)] == ["ready"]


def test_ctrl_c_ends_the_display_and_the_replay_goes_on(
    cli: Cli, settings: Settings, database: Engine, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(following.time, "sleep", interrupted)
    ran = cli("webhook", "replay", webhook.id, "--since", "1h", "--delivered", "--per-second", 7, "--yes")
    (row,) = rows(database, "SELECT * FROM dispatcher.redeliveries")
    assert (ran.status, f"dispatcher redelivery show {row.id}" in ran.err) == (130, True)
    shown: Any = cli("redelivery", "show", row.id, "--json").document
    assert (shown["states"], shown["per_second"]) == (["missing", "discarded", "cancelled", "delivered"], 7)
    redeliver_more(settings)
    assert len(deliveries(database)) == 2
