"""`/v1/contacts`, and the page that links in mails lead to."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import ApiKey, Call
from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.mail_links import MailLinks, Purpose
from dispatcher.accounts.recipients import MOST_HELD, list_recipients
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import change, make_account, rows
from tests.integration.api.conftest import Api, MakeKey
from tests.integration.audit.conftest import entries, forget
from tests.integration.workers.notices.conftest import mailer_for
from tests.integration.workers.notices.scenario import CONTACT, fail, webhook_with_contact
from tests.mail_server import MailServer
from tests.many_rows import EntriesRead
from workers.notices.send import send_due

HOOK = "https://hooks.acme.test/sms"
CUSTOMER = ApiKey(UUID(int=1), Call(UUID(int=3), None))


@pytest.fixture
def contact(database: Engine, settings: Settings) -> UUID:
    """A contact that a customer has entered, and that has got a mail; another notice is held back."""
    webhook = webhook_with_contact(database, settings, by=CUSTOMER, url=HOOK)
    with MailServer() as server:
        for status in (500, 501):
            fail(database, webhook, status=status)
            send_due(database, mailer_for(settings, server.port))
    return row(database).id


def row(database: Engine, address: str = CONTACT) -> Any:
    (found,) = rows(database, "SELECT * FROM dispatcher.recipients WHERE address = :address", address=address)
    return found


def page(api: Api, token: str, method: str = "GET", **arguments: Any) -> requests.Response:
    return api.call(method, f"/contact?link={token}", **arguments)


def token(installation: Installation, purpose: Purpose, contact: UUID, days: float = 1) -> str:
    return installation.mail_links.token(purpose, contact, datetime.now(UTC) + timedelta(days=days))


# The API


def test_the_account_sees_whom_its_mails_go_to_what_they_got_and_what_waits(
    api: Api, manager: str, database: Engine, contact: UUID
) -> None:
    answer = api.call("GET", "/v1/contacts", token=manager)
    (found,) = answer.json()["items"]
    assert datetime.fromisoformat(found.pop("last_sent_at")) == row(database).last_sent_at
    assert found == {
        "id": str(contact),
        "address": CONTACT,
        "state": "unconfirmed",
        "webhooks": 1,
        "confirmed_at": None,
        "confirmed_by": None,
        "unsubscribed_at": None,
        "unsubscribed_by": None,
        "sent_count": 1,
        "held_back": 1,
    }
    notices = api.call("GET", "/v1/notices", token=manager).json()["items"]
    assert [(notice["held_back"], notice["contact_state"]) for notice in notices] == [
        (True, "unconfirmed"),
        (False, "unconfirmed"),
    ]


def test_what_is_held_back_is_counted_to_a_bound_and_what_others_have_for_the_mailbox_is_not_read(
    database: Engine, settings: Settings
) -> None:
    mine, moved = (webhook_with_contact(database, settings, name=name).id for name in ("mine", "moved"))
    other = webhook_with_contact(database, settings, account="other").id
    many = """
    INSERT INTO dispatcher.notices (id, webhook_id, kind, fingerprint, observed_at, delivery_id, held_for)
    SELECT gen_random_uuid(), :webhook, 'message_retrying', n, now(), gen_random_uuid(), :mailbox
    FROM generate_series(1, :count) n"""
    for webhook, mailbox, count in ((other, CONTACT, 5_000), (mine, CONTACT, 80), (moved, "gone@acme.test", 5_000)):
        change(database, many, webhook=webhook, mailbox=mailbox, count=count)
    change(database, "ANALYZE dispatcher.notices")
    with Session(database) as session:
        account, reading = find_account(session, "acme"), EntriesRead(session, "notices")
        for added, counted in ((0, 80), (1_500, MOST_HELD)):
            change(database, many.replace("n, now()", "-n, now()"), webhook=mine, mailbox=CONTACT, count=added)
            (found,) = list_recipients(session, account, limit=9)
            assert (found.webhooks, found.held_back) == (2, counted)
            assert reading.more() < 2_500


def test_lists_have_pages_and_are_narrowed_by_address_and_are_each_account_s_own(
    api: Api, manager: str, make_key: MakeKey, database: Engine, settings: Settings
) -> None:
    for number in range(5):
        webhook_with_contact(database, settings, name=str(number), contact_email=f"{number}@acme.test")
    make_account(database, "other")
    seen, cursor = [], ""
    while cursor is not None:
        answer = api.call("GET", f"/v1/contacts?limit=2{cursor}", token=manager).json()
        seen += [item["address"] for item in answer["items"]]
        cursor = f"&cursor={answer['next']}" if answer["next"] else None
    assert seen == [f"{number}@acme.test" for number in (4, 3, 2, 1, 0)]
    (one,) = api.call("GET", "/v1/contacts?address=3@ACME.test", token=manager).json()["items"]
    assert one["address"] == "3@acme.test"
    assert api.call("GET", "/v1/contacts", token=make_key("other", Scope.READ)).json()["items"] == []


def test_only_an_operator_confirms_and_unsubscribes(
    api: Api, manager: str, make_key: MakeKey, database: Engine, contact: UUID
) -> None:
    for action in ("confirm", "unsubscribe"):
        assert api.call("POST", f"/v1/contacts/{contact}/{action}", token=manager).status_code == 403
        assert api.call("POST", f"/v1/contacts/{contact}/{action}").status_code == 401
    operator = make_key(None, Scope.OPERATOR)
    for action, state in (("confirm", "confirmed"), ("unsubscribe", "unsubscribed"), ("confirm", "confirmed")):
        answer = api.call("POST", f"/v1/contacts/{contact}/{action}", token=operator)
        assert (answer.status_code, answer.json()["state"]) == (200, state)
        assert api.call("POST", f"/v1/contacts/{uuid4()}/{action}", token=operator).status_code == 404


def test_what_is_so_already_is_not_noted_again(api: Api, make_key: MakeKey, database: Engine, contact: UUID) -> None:
    operator = make_key(None, Scope.OPERATOR)
    forget(database)
    for action in ("confirm", "confirm", "unsubscribe", "unsubscribe"):
        api.call("POST", f"/v1/contacts/{contact}/{action}", token=operator)
    assert [entry.action for entry in entries(database)] == ["contact.confirmed", "contact.unsubscribed"]


def test_that_a_stranger_declined_elsewhere_is_shown_to_operators_only(
    api: Api, make_key: MakeKey, database: Engine, settings: Settings, installation: Installation, contact: UUID
) -> None:
    page(api, token(installation, Purpose.UNSUBSCRIBE, contact), "POST")
    webhook_with_contact(database, settings, account="other", by=CUSTOMER)
    for key, state in ((make_key("other", Scope.READ), "unconfirmed"), (make_key(None, Scope.OPERATOR), "declined")):
        (found,) = api.call("GET", "/v1/contacts?account=other", token=key).json()["items"]
        assert found["state"] == state


@pytest.mark.parametrize("address", ["|/bin/sh@example.com", "-oQ@example.com", "a@[127.0.0.1]", "a@other.local"])
def test_an_address_that_no_mail_can_safely_go_to_is_refused_in_every_management_api(
    api: Api, manager: str, address: str
) -> None:
    answer = api.call(
        "POST", "/v1/webhooks", {"url": HOOK, "event_types": ["*"], "contact_email": address}, token=manager
    )
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "contact_email")
    body = {"name": "n", "url": HOOK, "triggerScope": "SENT", "contactEmailAddress": address}
    assert api.call("POST", "/bulksms/v1/webhooks", body, token=manager).status_code == 400


def test_one_that_an_older_version_took_stays_while_the_rest_is_changed(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    webhook = webhook_with_contact(database, settings, url=HOOK)
    change(database, "UPDATE dispatcher.webhooks SET contact_email = 'ops@corp.local'")
    path = f"/v1/webhooks/{webhook.id}"
    kept = {"name": "New", "contact_email": "ops@corp.local"}
    assert api.call("PATCH", path, kept, token=manager).status_code == 200
    assert api.call("PATCH", path, {"contact_email": "me@corp.local"}, token=manager).status_code == 422


# The page


def test_opening_a_link_changes_nothing_and_its_button_confirms(
    api: Api, database: Engine, installation: Installation, contact: UUID
) -> None:
    link = token(installation, Purpose.CONFIRM, contact)
    asked = page(api, link)
    assert (asked.status_code, "Get mails about problems" in asked.text) == (200, True)
    assert row(database).confirmed_at is None
    form = re.search(r'<form method="post" action="(\?link=[^"]+)">', asked.text)
    assert form is not None
    forget(database)
    done = api.call("POST", f"/contact{form[1]}")
    assert (done.status_code, "This address is confirmed" in done.text) == (200, True)
    assert row(database).confirmed_by == "the contact"
    (notice,) = rows(database, "SELECT due_at <= now() AS due FROM dispatcher.notices WHERE held_for IS NOT NULL")
    assert notice.due
    (entry,) = entries(database)
    assert (entry.action, entry.actor_kind, entry.target_id, entry.address) == (
        "contact.confirmed",
        "contact",
        contact,
        "127.0.0.1",
    )
    assert CONTACT not in str(entry)


def test_one_click_unsubscribes_without_a_cookie_or_a_redirect_and_only_the_person_takes_it_back(
    api: Api, database: Engine, installation: Installation, contact: UUID
) -> None:
    link = token(installation, Purpose.UNSUBSCRIBE, contact)
    assert "Stop these mails?" in page(api, link).text
    assert row(database).unsubscribed_at is None
    done = api.call(
        "POST",
        f"/contact?link={link}",
        b"List-Unsubscribe=One-Click",
        allow_redirects=False,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert (done.status_code, "No more mails" in done.text) == (200, True)
    assert "Set-Cookie" not in done.headers
    assert row(database).unsubscribed_at is not None
    assert "No more mails" in page(api, link, "POST").text  # again: the same
    form = re.search(r'action="(\?link=confirm[^"]+)">', page(api, link).text)
    assert form is not None
    assert "This address is confirmed" in api.call("POST", f"/contact{form[1]}").text
    found = row(database)
    assert (found.unsubscribed_at, found.confirmed_by) == (None, "the contact")


def test_a_link_that_is_too_old_or_of_somebody_else_does_nothing(
    api: Api, database: Engine, installation: Installation, contact: UUID
) -> None:
    for wrong in (
        token(installation, Purpose.UNSUBSCRIBE, contact, days=-0.001),
        token(installation, Purpose.UNSUBSCRIBE, uuid4()),
        MailLinks(b"another secret").token(Purpose.UNSUBSCRIBE, contact, datetime.now(UTC) + timedelta(days=1)),
        "",
        "x" * 5_000,
        "%00",
        "confirm...",
    ):
        for method in ("GET", "POST"):
            answer = page(api, wrong, method)
            assert (answer.status_code, "This link does not work any more" in answer.text) == (404, True)
    found = row(database)
    assert (found.confirmed_at, found.unsubscribed_at) == (None, None)


@pytest.mark.parametrize("purpose", Purpose)
def test_the_page_runs_no_script_is_kept_by_no_cache_and_shows_no_whole_address(
    api: Api, database: Engine, installation: Installation, contact: UUID, purpose: Purpose
) -> None:
    change(database, "UPDATE dispatcher.recipients SET address = '<script>@acme.test'")
    for method in ("GET", "POST"):
        answer = page(api, token(installation, purpose, contact), method)
        assert answer.headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        )
        assert answer.headers["Cache-Control"] == "no-store"
        assert (answer.headers["X-Content-Type-Options"], answer.headers["Referrer-Policy"]) == (
            "nosniff",
            "no-referrer",
        )
        assert "<script" not in answer.text
        assert "&lt;***@acme.test" in answer.text
        assert '<html lang="en">' in answer.text
        assert answer.text.count("<h1>") == 1


def test_the_log_of_requests_has_no_link(
    api: Api, installation: Installation, contact: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    link = token(installation, Purpose.CONFIRM, contact)
    with caplog.at_level("INFO"):
        page(api, link)
        page(api, "x")  # the line before is written by now
    assert link not in caplog.text + str([vars(record) for record in caplog.records])
