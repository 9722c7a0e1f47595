"""Bulk redeliveries and replays on pages: counted first, asked in numbers, ordered, followed, and ended."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.console.pages import redeliveries as pages
from dispatcher.console.progress import Progress
from dispatcher.settings import Settings
from tests.factories import change, deliver_all, make_webhook, redeliver_more, rows
from tests.integration.console.conftest import Browser, People
from tests.integration.console.test_events import texts
from tests.receiver import Receiver

NEW, COUNT = "/redeliveries/new", "/redeliveries/new?discarded=true&per_second=50&count=true"


@pytest.fixture
def hook(people: People, database: Engine, settings: Settings, receiver: Receiver) -> Any:
    """A webhook of acme to which three deliveries were discarded, and one was cancelled; two more events came before it
    took their type."""
    webhook = make_webhook(database, settings, name="orders", url=receiver.url("/status/401"), event_types=["a"])
    for event_type in ("a", "a", "a", "a", "b", "b"):
        enqueue(event_type, 1, account="acme")
    deliver_all(settings)
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = 'cancelled', reason = NULL WHERE id = (SELECT id FROM"
        " dispatcher.deliveries LIMIT 1)",
    )
    change(database, "UPDATE dispatcher.subscriptions SET event_type = '*'")
    return webhook


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are few; more are many."""
    monkeypatch.setattr(pages, "MANY", 2)


def ordered(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.redeliveries ORDER BY id")


def both(people: People) -> Iterator[tuple[Browser, str]]:
    """Who may order, and what they say beside the filter."""
    yield people.operator(), "&account=acme"
    yield people.customer(), ""


def test_it_is_counted_then_asked_in_numbers_and_then_ordered(people: People, hook: Any, database: Engine) -> None:
    for number, (browser, more) in enumerate(both(people)):
        asked = texts(browser.get(COUNT + more).text)
        assert "3 deliveries would be sent again" in asked
        assert "50 a second at most, so about 60 ms" in asked
        assert "Send 3" in asked
        assert len(ordered(database)) == number, "a dry run orders nothing"

        answer = browser.post(COUNT + more)
        made = ordered(database)[-1]
        assert urlsplit(answer.headers["Location"]).path.endswith(f"/redeliveries/{made.id}")
        assert (made.states, made.per_second, made.matched) == (["discarded"], 50, 3)
    actors = rows(database, "SELECT actor_kind FROM dispatcher.audit WHERE action = 'redelivery.ordered'")
    assert [row.actor_kind for row in actors] == ["console", "portal"]


def test_a_replay_sends_also_what_the_webhook_never_got(people: People, hook: Any, database: Engine) -> None:
    since = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M}"
    replay = f"{NEW}?kind=replay&webhook=orders&since={since}&per_second=100&count=true"
    for browser, _ in both(people):
        said = texts(browser.get(replay).text)
        assert "6 events would be sent" in said
        assert "Some of these were delivered already" not in said
        assert "a second time" in texts(browser.get(f"{replay}&delivered=true").text)
    browser.post(replay)
    assert ordered(database)[-1].states == ["missing", "discarded", "cancelled"]


def test_the_filter_of_a_list_is_filled_in_and_kept_on_the_way_back(people: People, hook: Any) -> None:
    browser = people.operator()
    page = browser.get(f"{NEW}?account=acme&webhook=orders&state=cancelled&type=a").text
    ticked = re.findall(r'name="(\w+)" value="true" checked', page)
    assert ticked == ["cancelled"]
    assert re.findall(r'name="(account|webhook|type)" value="(\w+)"', page) == [
        ("account", "acme"),
        ("webhook", "orders"),
        ("type", "a"),
    ]
    assert re.findall(r'name="(\w+)" value="true" checked', browser.get(NEW).text) == ["discarded"]
    asked = browser.get(f"{NEW}?account=acme&cancelled=true&type=a&count=true").text
    back = re.findall(r'href="([^"]*)" data-close', asked)[0].replace("&amp;", "&")
    assert parse_qs(urlsplit(back).query) == {"account": ["acme"], "cancelled": ["true"], "type": ["a"]}


def test_each_reason_why_it_is_refused_stands_at_its_field(people: People, hook: Any, database: Engine) -> None:
    browser = people.operator()
    for query, field, reason in (
        ("discarded=true", "account", "is required, or a webhook"),
        ("kind=replay", "webhook", "is required: a replay is for one"),
        ("kind=replay&webhook=orders", "since", "is required"),
        ("discarded=true&account=nobody", "account", "is not known here"),
        ("discarded=true&webhook=nobody", "webhook", "is not known here"),
        (f"discarded=true&webhook={UUID(int=7)}", "webhook", "is not known here"),
        ("account=acme", "discarded", "must be some of delivered"),
        ("discarded=true&account=acme&per_second=0", "per_second", "must be 1 to 1,000"),
        ("discarded=true&account=acme&per_second=²", "per_second", "must be 1 to 1,000"),
        ("discarded=true&account=acme&type=a..b", "type", "must be"),
        ("discarded=true&account=acme&since=yesterday", "since", "must be a date and a time"),
    ):
        for answer in (browser.get(f"{NEW}?{query}&count=true"), browser.post(f"{NEW}?{query}&count=true")):
            assert answer.status_code == 422, query
            assert re.search(rf'id="{field}-wrong"[^>]*>{reason}', answer.text), query
    assert "Nothing fits" in browser.get(f"{NEW}?account=acme&delivered=true&count=true").text
    assert ordered(database) == []


def test_many_take_the_operators_key_or_the_webhooks_name(
    people: People, hook: Any, database: Engine, few: None
) -> None:
    more = COUNT + "&account=acme"
    hasty = people.operator()
    for answer in (hasty.get(more), hasty.post(more)):
        place = urlsplit(answer.headers["Location"])
        assert place.path == "/console/prove"
        assert parse_qs(parse_qs(place.query)["next"][0].partition("?")[2])["count"] == ["true"]
    customer, asked = people.customer(), f"{COUNT}&webhook=orders"
    assert "To go on, type “orders”" in texts(customer.get(asked).text)
    assert "To go on, type “acme”" in texts(customer.get(COUNT).text)
    assert 'id="confirm-wrong"' in customer.post(asked, {"confirm": "order"}).text
    assert ordered(database) == [], "what was refused is undone"

    assert customer.post(asked, {"confirm": "orders"}).status_code == 303
    assert people.operator(proved=True).post(more).status_code == 303
    assert len(ordered(database)) == 2


def test_its_page_is_live_until_it_ends_and_says_how_far_it_is(
    people: People, hook: Any, database: Engine, settings: Settings
) -> None:
    customer = people.customer()
    customer.post(COUNT)
    path = f"/redeliveries/{ordered(database)[0].id}"
    page = customer.get(path).text
    assert 'data-every="2"' in page
    assert "Sent again 0 of 3 that matched" in texts(page)
    part = customer.get(path, HX_Request="true", HX_Target="div#now").text
    assert part.strip().startswith('<div id="now"')

    redeliver_more(settings)
    change(database, "UPDATE dispatcher.redeliveries SET redelivered = 2, finished_at = coalesce(finished_at, now())")
    page = customer.get(path).text
    assert "data-live" not in page
    assert "Sent again 2 of 3 that matched" in texts(page)
    assert "Skipped 1 had changed before their turn" in texts(page)
    for browser in (customer, people.operator()):
        listed = texts(browser.get("/redeliveries").text)
        assert re.search(r"Discarded Finished took .* all webhooks .*2 of 3 1 ", listed)
        assert "None is under way" in browser.get("/redeliveries?state=open").text


def test_the_rest_is_cancelled_once_and_by_who_may(people: People, hook: Any, database: Engine) -> None:
    customer, reader = people.customer(), people.customer("acme", "read")
    observer = people.operator(Scope.OBSERVE)
    customer.post(COUNT)
    path = f"/redeliveries/{ordered(database)[0].id}"
    for browser in (reader, observer):
        assert "/cancel" not in browser.get(path).text
        assert "New redelivery" not in browser.get("/redeliveries").text
        assert browser.get(f"{path}/cancel").status_code == browser.get(NEW).status_code == 403
    assert "3 are not sent again, and stay as they are. 0 were sent again" in texts(customer.get(f"{path}/cancel").text)
    assert customer.post(f"{path}/cancel").headers["Location"].endswith("done=cancelled")
    assert "Not sent 3 stay as they were" in texts(customer.get(path).text)
    assert customer.get(f"{path}/cancel").headers["Location"].endswith(path)
    assert customer.post(f"{path}/cancel").headers["Location"].endswith(path)
    (audited,) = rows(database, "SELECT * FROM dispatcher.audit WHERE action = 'redelivery.cancelled'")
    assert audited.actor_kind == "portal"


def test_an_account_that_may_order_no_more_is_told_so(people: People, hook: Any, database: Engine) -> None:
    change(database, """UPDATE dispatcher.accounts SET limits = '{"bulk_redeliveries": 1}'""")
    customer = people.customer()
    assert customer.post(COUNT).status_code == 303
    answer = customer.post(COUNT)
    assert answer.status_code == 422
    assert "bulk redeliveries" in answer.text
    assert "3 deliveries would be sent again" in texts(answer.text)


NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def progress(**columns: Any) -> Progress:
    usual = {"matched": 1_000, "redelivered": 300, "per_second": 100, "counting": False}
    usual |= {"created_at": NOW - timedelta(seconds=10), "finished_at": None, "cancelled_at": None}
    owner = SimpleNamespace(suspended_at=None)
    return Progress(cast("Any", SimpleNamespace(**usual | columns)), cast("Any", owner), None, NOW)


def test_the_time_left_is_that_at_the_pace_so_far() -> None:
    assert (progress().pace, progress().left) == (30, timedelta(seconds=700 / 30))
    begun = progress(created_at=NOW - timedelta(seconds=1), redelivered=0)
    assert begun.left == timedelta(seconds=10), "before it is known, that at most so many a second are sent"
    assert progress(redelivered=0).left is None
    assert progress(counting=True).left is None
    ended = progress(finished_at=NOW - timedelta(seconds=4))
    assert (ended.left, ended.took, ended.pace) == (None, timedelta(seconds=6), 50)
