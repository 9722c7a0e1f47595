"""The pictures of the docs: `./run.sh browser -k pictures --pictures docs/console` makes them anew."""

import math
import random
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.acceptance.test_one_command import Together
from tests.acceptance.test_workers import eventually, states
from tests.behaviours import Answer
from tests.browser.conftest import Visit
from tests.browser.visitor import SMALL, WIDE
from tests.factories import RECEIVED, change, deliveries, make_webhook, rows
from tests.integration.console.conftest import People
from tests.receiver import Receiver
from tests.requests_made import Made, monday, record
from workers.maintenance.pulses import count_pulses

pytestmark = pytest.mark.engine

MOST_BYTES = 150_000
# Webhooks with the share of requests that are made to them, and the account.
_WEBHOOKS = {"orders-eu": (3, "acme"), "billing": (5, "acme"), "archive": (2, "acme"), "crm-sync": (4, "globex")}
_HEADERS = (("Content-Type", "application/json"), ("Retry-After", "30"))
_ANSWER = Answer(503, _HEADERS, b'{"error": "maintenance until 14:00"}')


def _day_of_requests(webhooks: dict[str, object], now: datetime) -> list[Made]:
    """Of the last 24 hours: a receiver that times out since three hours, one that refuses some, and two that work."""
    chance = random.Random(7)
    shares = [share for share, _ in _WEBHOOKS.values()]
    made = []
    for minute in range(min(24 * 60, int((now - monday()).total_seconds() / 60))):
        for _ in range(int(8 + 5 * math.sin(minute / 220) + 3 * chance.random())):
            (name,) = chance.choices(list(_WEBHOOKS), shares)
            at = now - timedelta(minutes=minute, seconds=50 * chance.random())
            if name == "orders-eu" and minute < 180 and chance.random() < 0.8:
                outcome = [("temporary", 503, None), ("temporary", None, "timeout")][chance.random() < 0.3]
            elif name == "archive" and chance.random() < 0.2:
                outcome = ("rejected", 401, None)
            else:
                outcome = ("acknowledged", 200, None)
            made.append(Made(at, webhooks[name].id, *outcome, ms=int(chance.lognormvariate(4.2, 0.7))))
    return made


@pytest.fixture
def event(people: People, database: Engine, settings: Settings, receiver: Receiver, engine: Together) -> str:
    """The page of an event that one of two webhooks did not take, in an installation that works a day already."""
    receiver.script("/orders-eu", _ANSWER)
    webhooks = {
        name: make_webhook(database, settings, account=account, name=name, url=receiver.url(f"/{name}"))
        for name, (_, account) in _WEBHOOKS.items()
        if name != "archive"
    }
    webhooks["archive"] = make_webhook(
        database, settings, name="archive", url="https://archive.example/in", event_types=["call"]
    )
    now = datetime.now(UTC)
    record(database, _day_of_requests(webhooks, now))
    count_pulses(database, now, time.monotonic() + 60)
    message = {"id": "4023457654", "from": "27001234567", "to": "1543", "body": "Yes"}
    enqueue(RECEIVED, message, account="acme", subject="4023457654")
    eventually(lambda: sorted(states(database)) == ["delivered", "waiting"], engine)
    eventually(lambda: bool(rows(database, "SELECT id FROM dispatcher.processes WHERE kind = 'api'")), engine)
    change(database, "UPDATE dispatcher.circuit_breakers SET failing_since = now() - interval '3 hours'")
    there = {"here": receiver.origin, "there": "https://hooks.acme.example"}
    change(database, "UPDATE dispatcher.webhooks SET url_masked = replace(url_masked, :here, :there)", **there)
    change(database, "UPDATE dispatcher.requests SET url_masked = replace(url_masked, :here, :there)", **there)
    change(
        database,
        "UPDATE dispatcher.requests SET headers_masked = replace(headers_masked, :here, 'hooks.acme.example')",
        here=receiver.origin.removeprefix("http://"),
    )
    return f"/events/{deliveries(database)[0].event_id}"


def test_the_pictures_of_the_docs_are_made_of_the_pages_and_are_small(
    people: People, visit: Visit, event: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    folder: Path = pytestconfig.getoption("--pictures", default=None) or tmp_path
    for name, path in (("overview", "/overview"), ("event", event)):
        for look in (WIDE, SMALL):
            visitor = visit(people.operator(), look=look)
            visitor.go(path)
            visitor.go(path)  # with times in the zone that the first page told
            drawn = Image.open(BytesIO(visitor.page.screenshot()))
            file = folder / f"{name}-{look.width}-{look.theme}.png"
            drawn.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
            assert file.stat().st_size < MOST_BYTES, file
