"""Whoever fills in a contact's address cannot flood it: what is above the limits waits, and the next mail says so."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from dispatcher.accounts.usage import use_of
from dispatcher.db.models import Account, Webhook
from dispatcher.settings import Settings
from dispatcher.settings.quotas import DEFAULTS, Quota
from tests.factories import change, change_webhook, rows
from tests.integration.workers.notices.conftest import mailer_for
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
from tests.mail_server import Mail, MailServer, Say, Stage
from workers.notices.mailer import Mailer
from workers.notices.send import send_due

HOURLY, FINGERPRINTS = 20, 200
MakeMailer = Callable[..., Mailer]


@pytest.fixture
def limited(settings: Settings, mail_server: MailServer) -> MakeMailer:
    """A mailer with the limits that the settings have by themselves, or others."""

    def make(kind: type[Mailer] = Mailer, *, hourly: int | None = None, minutely: int | None = None) -> Mailer:
        limits = {
            "mails_per_contact_hour": settings.mails_per_contact_hour if hourly is None else hourly,
            "mails_per_webhook_minute": settings.mails_per_webhook_minute if minutely is None else minutely,
        }
        return mailer_for(settings, mail_server.port, kind, **limits)

    return make


def cycle(database: Engine, webhook: Webhook, fingerprints: int = FINGERPRINTS) -> None:
    """The receiver answers with one status after the other."""
    seen(database, *[error(database, webhook, status=status) for status in range(400, 400 + fingerprints)])


def minutes(database: Engine, mailer: Mailer, number: int) -> None:
    """So many minutes pass, with two runs in each."""
    for _ in range(number):
        pass_time(database, "30 seconds")
        send_due(database, mailer)
        pass_time(database, "30 seconds")
        send_due(database, mailer)


def lines(mail: Mail) -> int:
    """How many problems a mail reports; the same in both of its texts."""
    plain, html = mail.body("plain").count("\n- "), mail.body("html").count("<li ")
    assert plain == html
    return plain or 1


def test_a_webhook_with_ever_new_errors_gives_a_mail_a_minute_and_twenty_an_hour(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    webhook, mailer = webhook_with_contact(database, settings), limited()
    for minute in range(120):
        seen(database, *[error(database, webhook, status=status) for status in (2000 + minute, 3000 + minute)])
        assert send_due(database, mailer)["sent"] <= 200
        pass_time(database, "1 minute")
        if minute == 59:
            assert 15 <= len(mail_server.messages) <= HOURLY
    assert 30 <= len(mail_server.messages) <= 2 * HOURLY
    assert len({mail.parsed["Message-ID"] for mail in mail_server.messages}) == len(mail_server.messages)


def test_what_is_above_the_limits_comes_in_one_mail(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    webhook, mailer = webhook_with_contact(database, settings), limited()
    cycle(database, webhook, 40)
    result = send_due(database, mailer)
    assert (result["sent"], result["held_back"]) == (1, 39)
    assert send_due(database, mailer)["held_back"] == 0  # counted once
    minutes(database, mailer, 5)
    assert [lines(mail) for mail in mail_server.messages] == [1, 39]
    digest = mail_server.messages[1]
    assert digest.parsed["Subject"] == "39 problems: Orders"
    assert "HTTP status 404 (Not Found)" in digest.body()
    assert {(notice.sent_count, notice.held_for, notice.due_at) for notice in notices(database)} == {(1, None, None)}


def test_a_mail_shows_fifty_problems_and_says_how_many_more_there_are(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    webhook, mailer = webhook_with_contact(database, settings), limited()
    cycle(database, webhook, 150)
    send_due(database, mailer)
    minutes(database, mailer, 1)
    digest = mail_server.messages[1]
    assert (digest.parsed["Subject"], lines(digest)) == ("149 problems: Orders", 50)
    assert "99 more are not shown here" in digest.body()


def test_no_mail_tells_one_contact_or_account_of_the_problems_of_another(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    mailer = limited(hourly=1, minutely=0)
    for account, contact in (("acme", CONTACT), ("acme", "ops+2@acme.test"), ("other", CONTACT)):
        name = f"{account} {contact}"
        webhook = webhook_with_contact(database, settings, name=name, account=account, contact_email=contact)
        cycle(database, webhook, 3)
    for _ in range(4):
        send_due(database, mailer)
        pass_time(database, "1 hour")
    assert len(mail_server.messages) == 4
    for mail in mail_server.messages:
        assert sum(name in mail.body() for name in (f"acme {CONTACT}", "acme ops+2", f"other {CONTACT}")) == 1


def test_a_mail_of_many_that_did_not_go_is_tried_again_as_one(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    webhook, mailer = webhook_with_contact(database, settings), limited()
    cycle(database, webhook, 6)
    send_due(database, mailer)
    pass_time(database, "1 minute")
    mail_server.script(Say(Stage.RCPT, "450 greylisted"))
    assert send_due(database, mailer)["postponed"] == 5
    minutes(database, mailer, 2)
    assert [lines(mail) for mail in mail_server.messages] == [1, 5]


def test_one_account_has_its_own_limit_and_all_together_have_one(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    mailer = mailer_for(settings, mail_server.port, account_limits="mails_per_hour=2", mails_per_hour=5)
    for number in range(9):
        account = f"account-{number // 3}"
        webhook = webhook_with_contact(
            database, settings, name=str(number), account=account, contact_email=f"{number}@acme.test"
        )
        fail(database, webhook)
    result = send_due(database, mailer)
    assert (result["sent"], result["held_back"]) == (5, 4)
    by_account = Counter(int(mail.recipients[0].partition("@")[0]) // 3 for mail in mail_server.messages)
    assert by_account == {0: 2, 1: 2, 2: 1}
    pass_time(database, "1 hour")
    assert send_due(database, mailer)["sent"] == 4


@pytest.mark.parametrize(("own", "sent"), [({"mails_per_hour": 3}, 3), ({"mails_per_hour": None}, 4), ([7], 2)])
def test_an_operator_sets_how_many_mails_an_account_may_cause(
    database: Engine, settings: Settings, mail_server: MailServer, own: object, sent: int
) -> None:
    mailer = mailer_for(settings, mail_server.port, account_limits="mails_per_hour=2")
    for number in range(4):
        contact = f"{number}@acme.test"
        fail(database, webhook_with_contact(database, settings, name=str(number), contact_email=contact))
    change(database, "UPDATE dispatcher.accounts SET limits = CAST(:own AS jsonb)", own=json.dumps(own))
    assert send_due(database, mailer)["sent"] == sent
    with Session(database) as session:
        (used,) = (use.used for use in use_of(session, session.scalars(select(Account)).one(), DEFAULTS, {})
                   if use.quota is Quota.MAILS_PER_HOUR)  # fmt: skip
        assert used == sent
    pass_time(database, "1 hour")
    assert send_due(database, mailer)["sent"] == 4 - sent


def test_what_is_held_back_for_a_day_is_not_sent_and_the_next_mail_says_how_many(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    webhook, mailer = webhook_with_contact(database, settings), limited()
    cycle(database, webhook, 4)
    send_due(database, mailer)
    pass_time(database, "24 hours")
    result = send_due(database, mailer)
    assert (result["sent"], result["dropped"]) == (0, 3)
    fail(database, webhook, status=599)
    assert send_due(database, mailer)["sent"] == 1
    for kind in ("plain", "html"):
        assert "3 notices to this address were held back for a day and are not sent" in mail_server.messages[1].body(
            kind
        )
    pass_time(database, "1 minute")
    fail(database, webhook, status=598)
    assert send_due(database, mailer)["sent"] == 1
    assert "held back" not in mail_server.messages[2].body()  # told once


@pytest.mark.parametrize("spelling", [CONTACT, "OPS@Acme.test", "ops+2@acme.test"])
def test_all_webhooks_of_one_contact_share_its_hour(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer, spelling: str
) -> None:
    mailer = limited(hourly=5, minutely=0)
    one = webhook_with_contact(database, settings)
    other = webhook_with_contact(database, settings, name="Other", account="other", contact_email=spelling)
    cycle(database, one, 3)
    cycle(database, other, 4)
    result = send_due(database, mailer)
    assert (result["sent"], result["held_back"]) == (5, 2)
    fail(database, one, status=599)
    assert send_due(database, mailer)["held_back"] == 1
    pass_time(database, "59 minutes")
    assert send_due(database, mailer)["sent"] == 0
    pass_time(database, "61 minutes")
    assert send_due(database, mailer)["sent"] == 3
    assert len(mail_server.messages) == 7  # of two accounts, and what was held back for one of them together


def test_another_contact_and_another_webhook_do_not_wait(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    mailer = limited(hourly=1)
    flooded = webhook_with_contact(database, settings)
    cycle(database, flooded, 250)
    other = webhook_with_contact(database, settings, name="Other", contact_email="others@acme.test")
    fail(database, other)
    assert send_due(database, mailer)["sent"] == 2
    assert {mail.recipients for mail in mail_server.messages} == {(CONTACT,), ("others@acme.test",)}


def test_a_contact_that_changes_and_comes_back_has_no_new_hour(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    mailer = limited(hourly=2, minutely=0)
    webhook = webhook_with_contact(database, settings)
    cycle(database, webhook, 2)
    assert send_due(database, mailer)["sent"] == 2
    change_webhook(database, settings, webhook, "update", contact_email="me@acme.test")
    change_webhook(database, settings, webhook, "update", contact_email=CONTACT)
    fail(database, webhook, status=599)
    fail(database, webhook_with_contact(database, settings, name="New"))
    result = send_due(database, mailer)
    assert (result["sent"], result["held_back"]) == (0, 2)


def test_workers_at_the_same_instant_do_not_exceed_the_limits_together(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    for name in range(6):
        cycle(database, webhook_with_contact(database, settings, name=f"Hook {name}"), 5)
    with ThreadPoolExecutor(4) as workers:
        results = list(workers.map(lambda _: send_due(database, limited(hourly=4)), range(4)))
    assert len(mail_server.messages) == 4
    assert sum(result["sent"] for result in results) == sum(lines(mail) for mail in mail_server.messages)
    for owner in rows(database, "SELECT cardinality(sent_at) AS mails FROM dispatcher.mail_budgets"):
        assert owner.mails == 4


def test_a_mail_that_did_not_go_gives_its_turn_back_and_one_of_a_crashed_worker_does_not(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    webhook, mailer = webhook_with_contact(database, settings), limited(hourly=1)
    fail(database, webhook)
    mail_server.script(Say(Stage.RCPT, "450 greylisted"))
    assert send_due(database, mailer)["postponed"] == 1
    change(database, "UPDATE dispatcher.notices SET due_at = now()")
    assert send_due(database, mailer)["sent"] == 1
    pass_time(database, "1 hour")
    fail(database, webhook, status=599)
    with pytest.raises(Crash):
        send_due(database, limited(CrashingMailer, hourly=1))
    fail(database, webhook, status=598)
    assert send_due(database, mailer)["held_back"] == 1


def test_one_error_is_reported_once_in_24_hours_though_it_was_held_back(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    webhook, mailer = webhook_with_contact(database, settings), limited()
    cycle(database, webhook, 2)
    send_due(database, mailer)
    for _ in range(10):
        cycle(database, webhook, 2)
        minutes(database, mailer, 1)
    assert len(mail_server.messages) == 2
    assert {(notice.sent_count, notice.held_for) for notice in notices(database)} == {(1, None)}


def test_zero_is_no_limit_and_counts_nothing(
    database: Engine, settings: Settings, mail_server: MailServer, limited: MakeMailer
) -> None:
    cycle(database, webhook_with_contact(database, settings), 30)
    assert send_due(database, limited(hourly=0, minutely=0))["sent"] == 30
    assert [row.sent_at for row in rows(database, "SELECT sent_at FROM dispatcher.contacts")] == [[]]
