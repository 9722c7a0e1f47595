"""Mail goes only to those who want it. Whoever is not confirmed gets one mail in a day, in our words only."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from dispatcher.accounts.actor import ApiKey, Call, Contact, Dialect, told
from dispatcher.accounts.mail_links import Purpose
from dispatcher.accounts.recipients import confirm, unsubscribe
from dispatcher.db.models import Webhook
from dispatcher.settings import Settings
from dispatcher.webhooks.notices import NoticeKind
from tests.factories import TESTER, change, change_webhook, rows
from tests.integration.workers.notices.conftest import LINKS, mailer_for
from tests.integration.workers.notices.scenario import (
    CONTACT,
    Crash,
    CrashingMailer,
    error,
    fail,
    notices,
    pass_time,
    seen,
    webhook_with_contact,
)
from tests.mail_server import MailServer, Say, Stage
from workers.notices import send as sending
from workers.notices.due import turns
from workers.notices.mailer import Mailer
from workers.notices.send import send_due

CALL = Call(UUID(int=3), "192.0.2.7")
CUSTOMER, OPERATOR = ApiKey(UUID(int=1), CALL), ApiKey(UUID(int=2), CALL, is_operator=True)
PERSON = Contact(CALL)
PUBLIC = "https://hooks.we.test/api"


@pytest.fixture
def mailer(settings: Settings, mail_server: MailServer) -> Mailer:
    return mailer_for(settings, mail_server.port, public_url=PUBLIC)


def named_by_customer(database: Engine, settings: Settings, **fields: Any) -> Webhook:
    return webhook_with_contact(database, settings, by=CUSTOMER, **fields)


def said(database: Engine, do: Any, by: Any, address: str = CONTACT, account: str = "acme") -> None:
    """What somebody says about a contact."""
    (row,) = rows(
        database,
        "SELECT r.id FROM dispatcher.recipients r JOIN dispatcher.accounts a ON a.id = r.account_id"
        " WHERE r.address = :address AND a.name = :account",
        address=address,
        account=account,
    )
    with Session(database) as session, session.begin():
        do(session, row.id, by=by)


# A contact that nobody has confirmed


def test_a_stranger_whom_hostile_customers_name_gets_one_mail_in_a_day(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    spellings = (CONTACT, "OPS@acme.test", "ops+1@acme.test", "ops+2@acme.test")
    webhooks = [
        named_by_customer(database, settings, name=f"{account} {spelling}", account=account, contact_email=spelling)
        for account in ("acme", "evil")
        for spelling in spellings
    ]
    for hour in range(0, 48, 4):
        seen(
            database,
            *[
                error(database, webhook, status=status)
                for webhook in webhooks
                for status in range(200 + 10 * hour, 210 + 10 * hour)
            ],
        )
        send_due(database, mailer)
        assert len(mail_server.messages) == 1 + hour // 24
        pass_time(database, "4 hours")


def test_an_account_that_names_hundreds_of_strangers_mails_few_and_takes_nothing_from_those_who_confirmed(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    mailer = mailer_for(settings, mail_server.port, account_limits="mails_per_hour=10", mails_per_hour=100)
    for number in range(30):
        fail(database, named_by_customer(database, settings, name=str(number), contact_email=f"{number}@acme.test"))
    send_due(database, mailer)
    assert len(mail_server.messages) == 2
    for number in range(10):
        fail(database, webhook_with_contact(database, settings, name=f"ours {number}"))
    send_due(database, mailer)
    assert [mail.recipients for mail in mail_server.messages[2:]] == [(CONTACT,)] * 10


def test_neither_mails_to_those_who_confirmed_nor_strangers_of_another_account_keep_one_from_being_asked(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    mailer = mailer_for(settings, mail_server.port, account_limits="mails_per_hour=off", mails_per_hour=20)
    for number in range(20):
        fail(database, webhook_with_contact(database, settings, name=f"busy {number}", account="busy"))
    for number in range(10):
        fail(
            database,
            named_by_customer(
                database, settings, name=str(number), account="evil", contact_email=f"{number}@evil.test"
            ),
        )
    fail(database, named_by_customer(database, settings, contact_email="new@acme.test"))
    send_due(database, mailer)
    to = Counter(mail.recipients[0].partition("@")[2] for mail in mail_server.messages)
    assert to["evil.test"] == 2
    assert [mail.recipients for mail in mail_server.messages].count(("new@acme.test",)) == 1
    assert [mail.recipients for mail in mail_server.messages].count((CONTACT,)) == 20


def test_it_says_nothing_in_the_words_of_a_customer_or_a_receiver(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = named_by_customer(
        database, settings, name="SPOKEN-NAME", url="https://spoken-host.test/SPOKEN-PATH", account="SPOKEN-ACCOUNT"
    )
    change(database, "UPDATE dispatcher.webhooks SET enabled = false, disabled_reason = 'SPOKEN-REASON'")
    fail(database, webhook, kind=NoticeKind.WEBHOOK_DISABLED, status=410, answer=b"SPOKEN-ANSWER")
    assert send_due(database, mailer)["sent"] == 1
    (mail,) = mail_server.messages
    assert b"spoken" not in mail.content.lower()
    assert b"msg-17" not in mail.content
    for kind in ("plain", "html"):
        text = " ".join(mail.body(kind).split())
        assert "A webhook was disabled." in text
        assert "Your server answered with HTTP status 410 (Gone)." in text
        assert "at most one mail like this in a day" in text
        assert "Hooks" in text
        assert "hooks@we.test" in text
        assert CONTACT in text
        assert str(webhook.id) in text
    assert mail.parsed["Subject"] == "Problem with a webhook: please confirm this address"


def test_it_has_a_link_to_confirm_and_one_to_unsubscribe(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    fail(database, named_by_customer(database, settings))
    send_due(database, mailer)
    (mail,) = mail_server.messages
    (recipient,) = rows(database, "SELECT * FROM dispatcher.recipients")
    assert (recipient.sent_count, recipient.confirmed_at, recipient.last_sent_at is not None) == (1, None, True)
    for kind in ("plain", "html"):
        tokens = [part.split('"')[0].split()[0] for part in mail.body(kind).split(f"{PUBLIC}/contact?link=")[1:]]
        links = [LINKS.read(token) for token in tokens]
        assert [link and (link.purpose, link.recipient) for link in links] == [
            (Purpose.CONFIRM, recipient.id),
            (Purpose.UNSUBSCRIBE, recipient.id),
        ]


def test_once_confirmed_it_gets_what_was_held_back_in_one_mail_with_all_that_is_to_say(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = named_by_customer(database, settings)
    seen(database, *[error(database, webhook, status=status) for status in (500, 501, 502, 503)])
    result = send_due(database, mailer)
    assert (result["sent"], result["held_back"]) == (1, 3)
    said(database, confirm, PERSON)
    assert send_due(database, mailer)["sent"] == 3
    _, second = mail_server.messages
    assert "3 problems" in second.parsed["Subject"]
    assert "Orders" in second.body()
    assert {notice.sent_count for notice in notices(database)} == {1}  # none was reported twice
    fail(database, webhook, status=504)
    assert send_due(database, mailer)["sent"] == 1
    assert mail_server.messages[2].parsed["Subject"] == "Message retrying: Orders"


def test_a_mail_that_did_not_go_does_not_use_up_the_day_and_one_of_a_crashed_worker_does(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = named_by_customer(database, settings)
    fail(database, webhook)
    mail_server.script(Say(Stage.RCPT, "450 greylisted"))
    assert send_due(database, mailer)["postponed"] == 1
    pass_time(database, "1 minute")
    assert send_due(database, mailer)["sent"] == 1
    pass_time(database, "24 hours")
    fail(database, webhook, status=599)
    with pytest.raises(Crash):
        send_due(database, mailer_for(settings, mail_server.port, CrashingMailer))
    fail(database, webhook, status=598)
    assert send_due(database, mailer)["held_back"] == 1


def test_workers_at_the_same_instant_send_it_one_mail_together(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    for number in range(6):
        fail(database, named_by_customer(database, settings, name=str(number), account=f"account-{number}"))
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda _: send_due(database, mailer_for(settings, mail_server.port)), range(4)))
    assert len(mail_server.messages) == 1


def test_what_was_held_back_for_hostile_customers_is_not_told_to_those_who_confirmed_another_account(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    hostile = named_by_customer(database, settings, account="evil")
    seen(database, *[error(database, hostile, status=status) for status in range(500, 510)])
    send_due(database, mailer)
    pass_time(database, "1 day")
    assert send_due(database, mailer)["dropped"] == 9
    fail(database, webhook_with_contact(database, settings))
    assert send_due(database, mailer)["sent"] == 1
    assert "held back" not in mail_server.messages[1].body()


# Who confirms


@pytest.mark.parametrize("by", [TESTER, OPERATOR, Dialect("everlytic", UUID(int=2), CALL, is_operator=True)])
def test_a_contact_that_an_operator_enters_counts_as_confirmed(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, by: Any
) -> None:
    fail(database, webhook_with_contact(database, settings, by=by))
    send_due(database, mailer)
    assert mail_server.messages[0].parsed["Subject"] == "Message retrying: Orders"
    (recipient,) = rows(database, "SELECT * FROM dispatcher.recipients")
    assert recipient.confirmed_by == told(by)


@pytest.mark.parametrize("by", [CUSTOMER, Dialect("sinch", UUID(int=1), CALL)])
def test_one_that_a_customer_enters_does_not_and_neither_does_another_spelling_or_account(
    database: Engine, settings: Settings, by: Any
) -> None:
    webhook_with_contact(database, settings, by=by)
    said(database, confirm, PERSON)
    webhook_with_contact(database, settings, by=by, name="2", contact_email="ops+2@acme.test")
    webhook_with_contact(database, settings, by=by, account="evil")
    found = rows(database, "SELECT address, confirmed_at IS NOT NULL AS yes FROM dispatcher.recipients ORDER BY id")
    assert [(row.address, row.yes) for row in found] == [
        (CONTACT, True),
        ("ops+2@acme.test", False),
        (CONTACT, False),
    ]


def test_a_customer_who_takes_over_a_confirmed_webhook_cannot_turn_its_mails_to_a_stranger(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings, by=OPERATOR)
    change(database, "UPDATE dispatcher.webhooks SET contact_email = 'victim@acme.test'")
    fail(database, webhook)
    send_due(database, mailer)
    assert mail_server.messages[0].recipients == ("victim@acme.test",)
    assert "Orders" not in mail_server.messages[0].body()


# Unsubscribed


def test_whoever_unsubscribed_gets_nothing_more_for_this_account_however_they_are_spelt(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    said(database, unsubscribe, PERSON)
    for spelling in (CONTACT, "Ops+new@acme.test"):
        change_webhook(database, settings, webhook, "update", contact_email=spelling)
        for _ in range(3):
            fail(database, webhook, status=500 + len(spelling))
            send_due(database, mailer)
    assert mail_server.messages == []
    assert {notice.suppressed_count for notice in notices(database)} == {3}
    fail(database, webhook_with_contact(database, settings, account="other"))
    assert send_due(database, mailer)["sent"] == 1  # who has confirmed that one


def test_a_stranger_who_unsubscribed_gets_nothing_for_accounts_that_they_have_not_confirmed(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    fail(database, named_by_customer(database, settings, account="evil"))
    send_due(database, mailer)
    said(database, unsubscribe, PERSON, account="evil")
    for account in ("evil-2", "evil-3"):
        fail(database, named_by_customer(database, settings, account=account))
    pass_time(database, "2 days")
    fail(database, named_by_customer(database, settings, account="evil-4"))
    assert send_due(database, mailer)["sent"] == 0
    fail(database, webhook_with_contact(database, settings, account="mine"))  # named by an operator
    assert send_due(database, mailer)["sent"] == 1
    assert len(mail_server.messages) == 2


def test_neither_a_customer_nor_an_operator_who_names_them_again_makes_them_get_mails(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    said(database, unsubscribe, PERSON)
    change_webhook(database, settings, webhook, "update", contact_email=CONTACT)
    change_webhook(database, settings, webhook, "delete")
    for by in (CUSTOMER, OPERATOR):
        fail(database, webhook_with_contact(database, settings, by=by, name=str(by.is_operator)))
    assert send_due(database, mailer)["sent"] == 0


@pytest.mark.parametrize("by", [PERSON, TESTER, OPERATOR])
def test_confirmed_again_they_get_what_came_meanwhile_and_no_error_twice_in_24_hours(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, by: Any
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook, status=500)
    send_due(database, mailer)
    said(database, unsubscribe, PERSON)
    for status in (500, 501):
        fail(database, webhook, status=status)
    assert send_due(database, mailer)["unsubscribed"] == 1
    said(database, confirm, by)
    for status in (500, 501):
        fail(database, webhook, status=status)
    assert send_due(database, mailer)["sent"] == 1
    assert len(mail_server.messages) == 2
    assert "HTTP status 501" in mail_server.messages[1].body()


def test_an_error_that_goes_on_costs_one_look_in_a_day_while_its_contact_is_unsubscribed(
    database: Engine, settings: Settings, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    said(database, unsubscribe, PERSON)
    for _ in range(5):
        fail(database, webhook)
        send_due(database, mailer)
    assert sum(fail(database, webhook) for _ in range(5)) == 0


def test_whoever_unsubscribes_after_a_run_began_gets_no_mail_of_it(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(database, webhook_with_contact(database, settings))

    def then_unsubscribe(connection: Connection, most: int) -> Sequence[UUID]:
        found = turns(connection, most)
        said(database, unsubscribe, PERSON)
        return found

    monkeypatch.setattr(sending, "turns", then_unsubscribe)
    send_due(database, mailer)
    assert send_due(database, mailer)["unsubscribed"] == 1
    assert mail_server.messages == []


# What each mail says


def test_every_mail_says_who_sends_it_and_why_and_can_be_stopped_with_one_click(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    for status in (500, 501, 502):
        fail(database, webhook, status=status)
    change(database, "UPDATE dispatcher.notices SET held_for = :box WHERE fingerprint <> 'http_500'", box=CONTACT)
    fail(database, named_by_customer(database, settings, account="other", contact_email="new@acme.test"))
    for _ in range(3):
        send_due(database, mailer)
    assert len(mail_server.messages) == 2
    for mail in mail_server.messages:
        url = mail.parsed["List-Unsubscribe"].removeprefix("<").removesuffix(">")
        assert mail.parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        raw = next(line for line in mail.content.split(b"\r\n") if line.lower().startswith(b"list-unsubscribe:"))
        assert raw == f"List-Unsubscribe: <{url}>".encode()  # neither folded nor encoded
        assert url.startswith(PUBLIC)
        link = LINKS.read(url.removeprefix(f"{PUBLIC}/contact?link="))
        assert link is not None
        assert link.purpose is Purpose.UNSUBSCRIBE
        assert url in mail.body()
        assert url in mail.body("html")
        text = " ".join(mail.body().split())
        assert f"Hooks <hooks@we.test> sends this mail because {mail.recipients[0]} is" in text


def test_one_click_is_offered_over_https_only(database: Engine, settings: Settings, mail_server: MailServer) -> None:
    fail(database, webhook_with_contact(database, settings))
    send_due(database, mailer_for(settings, mail_server.port, public_url="http://127.0.0.1:8080"))
    (mail,) = mail_server.messages
    assert mail.parsed["List-Unsubscribe"].startswith("<http://127.0.0.1:8080/contact?link=")
    assert mail.parsed["List-Unsubscribe-Post"] is None


def test_without_a_public_url_there_is_no_link_and_the_mail_says_whom_to_ask(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    mailer = mailer_for(settings, mail_server.port)
    fail(database, named_by_customer(database, settings))
    fail(database, webhook_with_contact(database, settings, name="2", contact_email="known@acme.test"))
    assert send_due(database, mailer)["sent"] == 2
    for mail in mail_server.messages:
        assert mail.parsed["List-Unsubscribe"] is None
        assert "link=" not in mail.body() + mail.body("html")
        assert "ask the sender" in mail.body()
        assert "ask the sender" in mail.body("html")


# What is kept


def test_a_contact_that_nobody_ever_mailed_or_confirmed_is_forgotten_with_its_last_webhook(
    database: Engine, settings: Settings
) -> None:
    one, two = (named_by_customer(database, settings, name=name) for name in ("one", "two"))
    change_webhook(database, settings, one, "delete")
    assert len(rows(database, "SELECT 1 FROM dispatcher.recipients")) == 1
    for number in range(5):
        change_webhook(database, settings, two, "update", contact_email=f"{number}@acme.test")
    kept = rows(database, "SELECT address FROM dispatcher.recipients ORDER BY address")
    # `change_webhook` is an operator's: what they confirmed stays.
    assert [row.address for row in kept] == [f"{number}@acme.test" for number in range(5)]


def test_one_that_got_a_mail_is_kept_so_that_it_can_unsubscribe(
    database: Engine, settings: Settings, mailer: Mailer
) -> None:
    webhook = named_by_customer(database, settings)
    fail(database, webhook)
    send_due(database, mailer)
    change_webhook(database, settings, webhook, "delete")
    said(database, unsubscribe, PERSON)
    assert rows(database, "SELECT declined_at FROM dispatcher.contacts")[0].declined_at is not None


def test_a_contact_that_an_older_version_entered_is_not_confirmed(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    change(database, "DELETE FROM dispatcher.recipients")
    fail(database, webhook)
    send_due(database, mailer)
    assert "please confirm" in mail_server.messages[0].parsed["Subject"]
