"""`/live`: what goes out just now, for those who may see it, and read once for all of them."""

import re
from collections.abc import Mapping
from datetime import timedelta
from unittest.mock import patch
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher.settings import Settings
from dispatcher.webhooks import live
from dispatcher.webhooks.live import newest_requests
from tests.factories import change, make_webhook, rows
from tests.integration.console.conftest import People, statements
from tests.integration.console.test_events import texts
from tests.many_rows import EntriesRead
from tests.requests_made import Made, record


@pytest.fixture
def hooks(people: People, database: Engine, settings: Settings) -> Mapping[str, UUID]:
    """Three webhooks, each with requests of this minute; and one of before."""
    names = {"orders": "acme", "billing": "acme", "of-globex": "globex"}
    made = {
        name: make_webhook(database, settings, account=account, name=name, url=f"https://{name}.example/in").id
        for name, account in names.items()
    }
    now = people.installation.clock()
    record(
        database,
        [
            Made(now - timedelta(seconds=50), made["orders"], ms=210),
            Made(now - timedelta(seconds=40), made["orders"], "rejected", 422, ms=30),
            Made(now - timedelta(seconds=30), made["billing"], "temporary", None, "dns", messages=20, ms=4),
            Made(now - timedelta(seconds=20), made["billing"], None, 401, ms=7),
            Made(now - timedelta(seconds=10), made["of-globex"], ms=5),
            Made(now - timedelta(seconds=70), made["orders"], "rejected", 418, ms=5),
        ],
    )
    return made


def shown(page: str) -> list[str]:
    """The lines of the table, without their times."""
    return [" ".join(texts(line).split()[1:]) for line in re.findall(r"<tr id=.*?</tr>", page, re.DOTALL)]


def test_it_shows_how_the_requests_of_the_last_minute_ended_the_newest_first(
    people: People, hooks: Mapping[str, UUID]
) -> None:
    assert shown(people.operator().get("/live").text) == [
        "Delivered 200 of-globex globex 1 5 ms",
        "New token 401 Unauthorized billing acme 1 7 ms",
        "To be retried dns the name was not found billing acme 20 4 ms",
        "Rejected 422 Unprocessable Entity orders acme 1 30 ms",
        "Delivered 200 orders acme 1 210 ms",
    ]


def test_the_portal_shows_the_accounts_own_and_what_customers_are_told(
    people: People, hooks: Mapping[str, UUID]
) -> None:
    customer = people.customer()
    lines = shown(customer.get("/live").text)
    assert [line for line in lines if "globex" in line or "dns" in line or "acme" in line] == []
    assert "To be retried address_refused the address may not be called billing 20 4 ms" in lines
    assert len(lines) == 4
    for query in (f"?webhook={hooks['of-globex']}", f"?account=globex&webhook={hooks['of-globex']}"):
        assert shown(customer.get(f"/live{query}").text) == []


def test_filters_take_the_failures_or_what_goes_to_one(people: People, hooks: Mapping[str, UUID]) -> None:
    browser = people.operator()
    failed = shown(browser.get("/live?failures=true").text)
    assert [line.split()[0] for line in failed] == ["To", "Rejected"], "a new token is no failure"
    assert len(shown(browser.get("/live?webhook=orders").text)) == 2
    assert len(shown(browser.get("/live?account=globex").text)) == 1
    assert len(shown(browser.get("/live?account=acme&failures=true&webhook=orders").text)) == 1
    for query, field in (("account=nobody", "account"), ("webhook=nobody", "webhook")):
        answer = browser.get(f"/live?{query}")
        assert answer.status_code == 422
        assert f'id="{field}-wrong"' in answer.text
    assert "No request since" in browser.get("/live?webhook=of-globex&failures=true").text


def test_it_is_read_once_for_all_who_look(people: People, hooks: Mapping[str, UUID]) -> None:
    browsers = [people.operator() for _ in range(3)]
    with statements() as sent:
        parts = [browser.get("/live", HX_Request="true", HX_Target="div#list").text for browser in browsers]
    assert sum("dispatcher.requests" in statement for statement in sent) == 2, "and how far back, for few"
    assert all(part.strip().startswith('<div id="list"') and 'data-every="2"' in part for part in parts)
    assert len({tuple(shown(part)) for part in parts}) == 1


def test_whatever_is_looked_for_only_the_newest_requests_are_read(
    people: People, hooks: Mapping[str, UUID], database: Engine
) -> None:
    now = people.installation.clock().replace(microsecond=0)
    record(database, [Made(now - timedelta(milliseconds=n), hooks["of-globex"]) for n in range(1, 3_001)])
    change(database, "ANALYZE dispatcher.requests")
    (acme,) = rows(database, "SELECT account_id AS id FROM dispatcher.webhooks WHERE id = :id", id=hooks["orders"])
    with patch.object(live, "LOOKED_AT", 500), people.installation.transaction() as session:
        reading = EntriesRead(session, "requests")
        for wanted in ({}, {"account": acme.id}, {"webhook": hooks["orders"]}, {"failures": True}):
            found = newest_requests(session, now, **wanted, limit=50)
            assert len(found.requests) == (0 if wanted else 50)
            assert found.since == now - timedelta(milliseconds=500 if wanted else 50)
            assert reading.more() <= 2 * 500 + 500 + 10, wanted
    with people.installation.transaction() as session:
        found = newest_requests(session, now, account=acme.id, limit=50)
        assert (len(found.requests), found.since) == (4, now - timedelta(seconds=60))
