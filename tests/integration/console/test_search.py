"""The search field: from whatever somebody has to the page about it."""

import pytest
from sqlalchemy import Engine

from dispatcher.ids import new_id
from dispatcher.settings import Settings
from tests.factories import make_webhook, rows
from tests.integration.console.conftest import Browser, People, things_of
from tests.receiver import Receiver


def leads(browser: Browser, wanted: object) -> str | int:
    """Where a search leads, below the mount; or the status of its own page."""
    answer = browser.get(f"/search?q={wanted}")
    return answer.headers["Location"].removeprefix(f"/{browser.kind}") if answer.is_redirect else answer.status_code


def test_an_id_leads_to_what_it_is_of(people: People, database: Engine, settings: Settings, receiver: Receiver) -> None:
    (acme,) = things_of(database, settings, receiver, "acme")
    ids = acme.ids
    (request,) = rows(database, "SELECT id FROM dispatcher.requests")
    for browser in (people.operator(), people.customer()):
        assert leads(browser, ids["webhook_id"]) == f"/webhooks/{ids['webhook_id']}"
        for of_event in (ids["event_id"], ids["delivery_id"], request.id):
            assert leads(browser, of_event) == f"/events/{ids['event_id']}"


def test_to_a_customer_what_is_anothers_is_like_what_never_was(
    people: People, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    customer = people.customer("acme")
    (globex,) = things_of(database, settings, receiver, "globex")
    theirs = globex.ids
    (request,) = rows(database, "SELECT id FROM dispatcher.requests")
    nobodys = new_id()
    pages = {
        customer.get(f"/search?q={wanted}").text.replace(str(wanted), "")
        for wanted in (theirs["webhook_id"], theirs["event_id"], theirs["delivery_id"], request.id, nobodys)
    }
    assert len(pages) == 1
    assert leads(customer, "of-globex") == "/events?subject=of-globex"
    assert leads(customer, "globex") == "/events?subject=globex"


def test_a_name_leads_to_its_webhook_or_account_and_all_else_is_a_subject(
    people: People, database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, name="orders", url="https://hooks.example.com/")
    operator = people.operator()
    assert leads(operator, "orders") == f"/webhooks/{webhook.id}"
    assert leads(operator, "acme") == "/webhooks?account=acme"
    assert leads(operator, "4023457654") == "/events?subject=4023457654"
    make_webhook(database, settings, account="globex", name="orders", url="https://hooks.example.com/2")
    assert "/webhooks/" in operator.get("/search?q=orders").text
    assert leads(people.customer(), "orders") == f"/webhooks/{webhook.id}"


@pytest.mark.parametrize("wanted", ["", "%20", "%00", "x" * 256])
def test_nothing_to_search_for_is_no_error(people: People, wanted: str) -> None:
    assert people.operator().get(f"/search?q={wanted}").status_code in {200, 422}
