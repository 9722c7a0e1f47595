"""`/notices`: was the customer told?"""

import re
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.settings import Settings
from tests.factories import deliver_all, make_webhook, rows
from tests.integration.api.conftest import Restarted
from tests.integration.console.conftest import People
from tests.integration.console.test_webhook_pages import said
from tests.receiver import Receiver


@pytest.fixture
def notice(people: People, database: Engine, settings: Settings, receiver: Receiver) -> UUID:
    """A notice about a 401, of a webhook of acme."""
    url, contact = receiver.url("/status/401"), "ops@acme.test"
    make_webhook(database, settings, name="refusing", url=url, contact_email=contact)
    enqueue("message.sent", {}, account="acme")
    deliver_all(settings)
    (found,) = rows(database, "SELECT id FROM dispatcher.notices")
    identifier: UUID = found.id
    return identifier


def change(database: Engine, notice: UUID, assignments: str) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(f"UPDATE dispatcher.notices SET {assignments} WHERE id = '{notice}'")


def test_each_state_of_a_mail_is_said(
    people: People, database: Engine, notice: UUID, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DISPATCHER_SMTP_HOST", "mail.test")
    restarted()
    customer = people.customer("acme")
    pending = said(customer.get("/notices").text)
    assert re.search(r"refusing 401 a message was discarded seen at \S+ ops@acme.test Confirmed none sent yet", pending)
    assert re.search(r"a mail at \d", pending)
    change(database, notice, "held_for = 'ops@acme.test'")
    assert "a mail is held back" in said(customer.get("/notices").text)
    sent = "held_for = NULL, due_at = NULL, last_sent_at = now(), sent_count = 3, suppressed_count = 1200"
    change(database, notice, sent)
    page = said(customer.get("/notices").text)
    assert re.search(r"3 sent the last at \S+ seen 1,200 more times quiet until (\S+ ){3}", page)
    change(database, notice, "last_sent_at = now() - interval '2 days'")
    assert "when it is seen again" in said(customer.get("/notices").text)


def test_without_a_mail_server_no_mail_is_promised(people: People, notice: UUID) -> None:
    for browser, word in ((people.operator(), "DISPATCHER_SMTP_HOST"), (people.customer("acme"), "at the moment")):
        page = said(browser.get("/notices?account=acme").text)
        assert re.search(rf"Nothing is mailed.*{word}", page)
        assert "a mail at" not in page


def test_a_name_that_does_not_exist_is_told_to_operators_alone(people: People, database: Engine, notice: UUID) -> None:
    change(database, notice, "fingerprint = 'dns'")
    assert ">dns<" in people.operator().get("/notices?account=acme").text
    page = people.customer("acme").get("/notices").text
    assert ">dns<" not in page
    assert ">address_refused<" in page


def test_operators_choose_an_account_and_release_what_was_put_aside(
    people: People, database: Engine, notice: UUID
) -> None:
    operator, customer = people.operator(), people.customer("acme")
    assert "/console/notices?account=acme" in operator.get("/notices").text
    assert operator.get("/notices?account=nobody").status_code == 422
    change(database, notice, "quarantined_at = now(), quarantined_reason = 'no template', due_at = NULL")
    path = f"/notices/{notice}/release"
    assert path in operator.get("/notices?account=acme&state=quarantined").text
    assert path not in people.operator(Scope.OBSERVE).get("/notices?account=acme").text
    assert "no template" not in customer.get("/notices").text
    assert customer.post(path).status_code == 404
    assert operator.post(path, {"account": "acme"}).headers["Location"] == "/console/notices?account=acme&done=released"
    (released,) = rows(database, "SELECT quarantined_at, due_at FROM dispatcher.notices")
    assert (released.quarantined_at, released.due_at is None) == (None, False)


def test_it_says_what_to_do_where_there_is_none(people: People) -> None:
    assert "Give each webhook a contact" in people.customer("acme").get("/notices").text
    assert "Take a filter away" in people.customer("acme").get("/notices?kind=webhook_disabled").text
