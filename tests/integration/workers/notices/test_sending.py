"""A due notice is mailed once in 24 hours; no failure, crash or second worker causes a second mail."""

import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Thread, get_ident
from time import monotonic, sleep
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from dispatcher.settings import Settings
from dispatcher.webhooks.notices import NoticeKind
from tests.dead_ports import refusing_port
from tests.factories import change, change_webhook, make_webhook, rows
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
    the_notice,
    webhook_with_contact,
)
from tests.mail_server import Drop, Hang, MailServer, Say, Stage
from tests.many_rows import make_many_webhooks, reading_less_than
from workers.notices import send as sending
from workers.notices.due import turns
from workers.notices.mailer import CleanFailure, Mailer
from workers.notices.send import close_abandoned, send_due, send_due_alone

NOTHING = {
    "sent": 0,
    "postponed": 0,
    "dropped": 0,
    "refused": 0,
    "unknown": 0,
    "held_back": 0,
    "quarantined": 0,
    "unsubscribed": 0,
}


def tally(**counts: int) -> dict[str, int]:
    return NOTHING | counts


def alone(database: Engine, mailer: Mailer) -> dict[str, int]:
    """The task's run, which nothing calls again."""
    return send_due_alone(database, mailer, pytest.fail)


# Once in 24 hours


def test_one_error_gives_one_mail_in_24_hours(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    for _ in range(3):
        fail(database, webhook)
        send_due(database, mailer)
    pass_time(database, "23 hours 59 minutes")
    assert fail(database, webhook) == 0
    assert send_due(database, mailer) == NOTHING
    assert len(mail_server.messages) == 1


def test_after_24_hours_the_next_mail_says_how_many_were_suppressed(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    assert send_due(database, mailer) == tally(sent=1)
    for _ in range(4):
        fail(database, webhook)
    pass_time(database, "24 hours")
    assert fail(database, webhook) == 1
    assert send_due(database, mailer) == tally(sent=1)
    first, second = mail_server.messages
    assert "more time" not in first.body()
    assert "seen 4 more times since the last notice" in second.body()
    assert first.parsed["Message-ID"] != second.parsed["Message-ID"]
    notice = the_notice(database)
    assert (notice.sent_count, notice.suppressed_count, notice.due_at, notice.claimed_until) == (2, 0, None, None)


def test_a_mail_is_not_sent_again_24_hours_later_unless_the_error_is_seen_again(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    send_due(database, mailer)
    fail(database, webhook)
    pass_time(database, "3 days")
    assert send_due(database, mailer) == NOTHING
    assert len(mail_server.messages) == 1


def test_another_error_another_kind_and_another_webhook_each_give_their_own_mail(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    one = webhook_with_contact(database, settings)
    other = webhook_with_contact(database, settings, name="Other")
    fail(database, one, status=503)
    fail(database, one, status=502)
    fail(database, one, status=503, kind=NoticeKind.MESSAGE_DISCARDED)
    fail(database, one, status=410, kind=NoticeKind.WEBHOOK_DISABLED)
    fail(database, other, status=503)
    assert send_due(database, mailer) == tally(sent=5)
    assert sorted(mail.parsed["Subject"] for mail in mail_server.messages) == [
        "Message discarded: Orders",
        "Message retrying: Orders",
        "Message retrying: Orders",
        "Message retrying: Other",
        "Webhook disabled: Orders",
    ]


def test_what_is_suppressed_while_a_mail_is_sent_is_kept_for_the_next(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    webhook = webhook_with_contact(database, settings)
    failed = error(database, webhook)
    seen(database, failed, failed)

    class Busy(Mailer):
        def send(self, message):  # type: ignore[no-untyped-def]
            assert seen(database, failed, failed, failed) == 0
            return super().send(message)

    mailer = mailer_for(settings, mail_server.port, Busy)
    assert send_due(database, mailer) == tally(sent=1)
    assert "seen 1 more time." in mail_server.messages[0].body()
    assert the_notice(database).suppressed_count == 3


# Who is told what


def test_the_mail_goes_to_the_contact_and_reports_the_error_from_the_rows(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings, authorization=None)
    failed = error(database, webhook, answer=b"Cannot POST /sms?secret=s3cret")
    seen(database, failed)
    send_due(database, mailer)
    (mail,) = mail_server.messages
    assert (mail.sender, mail.recipients) == ("hooks@we.test", (CONTACT,))
    for text in (mail.body("plain"), mail.body("html")):
        for fact in ("Orders", "acme", "https://hooks.acme.test/sms?secret=***", "503 (Service Unavailable)",
                     "message.inbound.received", "msg-17", str(failed.delivery_id), "Cannot POST /sms?secret=***",
                     "Next attempt"):  # fmt: skip
            assert fact in text
    assert "Attempt:     7" in mail.body()
    assert b"s3cret" not in mail.content
    assert b"PAYLOAD" not in mail.content


def test_a_mail_masks_what_the_answer_repeats_of_the_message(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook, status=500, answer=b'cannot take PAYLOAD or {"from": "+27 00"}')
    fail(database, webhook, status=501, answer=b"." * 10 + b"PAYL", cut=True)
    send_due(database, mailer)
    first, second = mail_server.messages
    for kind in ("plain", "html"):
        assert "PAYLOAD" not in first.body(kind)
        assert "+27 00" not in first.body(kind)
        assert "PAYL" not in second.body(kind)
    assert 'cannot take *** or {"from": "***"}' in first.body()
    assert "..........***" in second.body()


def test_a_mail_shows_all_of_an_answer_where_no_member_is_masked(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    fail(database, webhook_with_contact(database, settings), answer=b"cannot take PAYLOAD")
    send_due(database, mailer_for(settings, mail_server.port, masked_members=""))
    assert "cannot take PAYLOAD" in mail_server.messages[0].body()


def test_a_mail_about_a_batch_shows_no_answer_for_it_may_repeat_any_message(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    fail(database, webhook_with_contact(database, settings), answer=b"cannot take another", batch=True)
    send_due(database, mailer)
    (mail,) = mail_server.messages
    assert "another" not in mail.body() + mail.body("html")
    assert "status 503" in mail.body()


def test_an_answer_that_could_not_be_decoded_is_not_quoted(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    fail(database, webhook_with_contact(database, settings), answer=b"\x1f\x8bjunk", unreadable=True)
    send_due(database, mailer)
    assert "answer began" not in mail_server.messages[0].body()


def test_rows_that_were_cleared_away_do_not_stop_the_mail(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    fail(database, webhook_with_contact(database, settings))
    for table in ("attempts", "requests", "deliveries", "events"):
        change(database, f"DELETE FROM dispatcher.{table}")
    assert send_due(database, mailer) == tally(sent=1)
    assert "Orders" in mail_server.messages[0].body()


def test_no_name_subject_or_address_brings_a_header(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    names = ["a\r\nBcc: evil@evil.test", "b\u2028Bcc: evil@evil.test", "=?utf-8?q?c=0d=0aBcc:_evil@evil.test?=",
             "=?utf-8?b?ZA0KQmNjOiBldmlsQGV2aWwudGVzdA==?=", "e\x00\x1b\x85f"]  # fmt: skip
    for number, name in enumerate(names):
        webhook = webhook_with_contact(database, settings, name=f"Hook {number}")
        fail(database, webhook)
        # Past what registration refuses: the mail must be safe by itself.
        change(
            database, "UPDATE dispatcher.webhooks SET name = :n WHERE id = :id", n=name.replace("\0", ""), id=webhook.id
        )
    assert send_due(database, mailer) == tally(sent=len(names))
    for mail in mail_server.messages:
        assert mail.recipients == (CONTACT,)
        assert b"\nBcc" not in mail.content.replace(b"\r", b"\n").split(b"\n\n")[0]
        assert mail.parsed.keys() == ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted",
                                      "X-Auto-Response-Suppress", "MIME-Version", "Content-Type"]  # fmt: skip


@pytest.mark.parametrize(
    "contact",
    ["ops@acme.test\r\nBcc: evil@evil.test", "ops@acme.test, evil@evil.test", "ops@acme.test>\r\nRCPT TO:<evil@e.test",
     "=?utf-8?q?a=0d=0a?=@acme.test", "nobody", "", "öps@acme.test",
     "(" * 100_000 + "ops@acme.test"],
    ids=lambda contact: ascii(contact)[:40],
)  # fmt: skip
def test_a_contact_that_is_no_plain_address_gets_no_mail(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, contact: str
) -> None:
    fail(database, webhook_with_contact(database, settings))
    change(database, "UPDATE dispatcher.webhooks SET contact_email = :contact", contact=contact)
    assert send_due(database, mailer) == tally(refused=1)
    assert send_due(database, mailer) == NOTHING
    assert mail_server.connections == 0


def test_a_changed_contact_is_the_one_that_is_notified(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    change_webhook(database, settings, webhook, "update", contact_email="new@acme.test")
    send_due(database, mailer)
    assert mail_server.messages[0].recipients == ("new@acme.test",)


def test_without_a_contact_any_more_the_error_is_counted_only(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    change_webhook(database, settings, webhook, "update", contact_email=None)
    assert send_due(database, mailer) == tally(dropped=1)
    notice = the_notice(database)
    assert (notice.due_at, notice.last_sent_at, notice.sent_count, notice.suppressed_count) == (None, None, 0, 1)
    assert mail_server.connections == 0


def test_nothing_is_mailed_about_a_deleted_webhook(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    change_webhook(database, settings, webhook, "delete")
    assert send_due(database, mailer) == tally(dropped=1)
    assert send_due(database, mailer) == NOTHING
    assert mail_server.connections == 0


# The mail server is away


def test_a_mail_server_that_is_away_is_tried_again_with_backoff_until_it_is_back(
    database: Engine, settings: Settings
) -> None:
    webhook = webhook_with_contact(database, settings)
    port = refusing_port()
    mailer = mailer_for(settings, port)
    fail(database, webhook)
    for failed, minutes in enumerate((1, 5, 15, 30, 60, 60), start=1):
        assert send_due(database, mailer) == tally(postponed=1)
        assert send_due(database, mailer) == NOTHING
        assert fail(database, webhook) == 0
        notice = the_notice(database)
        assert (notice.failed_sends, notice.last_sent_at, notice.suppressed_count) == (failed, None, failed)
        wait = notice.due_at - notice.now
        assert timedelta(minutes=minutes) - timedelta(seconds=30) < wait <= timedelta(minutes=minutes)
        pass_time(database, f"{minutes} minutes")
    with MailServer(port=port) as server:
        assert send_due(database, mailer) == tally(sent=1)
        assert send_due(database, mailer) == NOTHING
        (mail,) = server.messages
    assert "seen 6 more times." in mail.body()
    notice = the_notice(database)
    assert (notice.failed_sends, notice.sent_count, notice.suppressed_count) == (0, 1, 0)
    assert notice.last_sent_at is not None


def test_a_clean_failure_leaves_the_window_of_the_mail_before_as_it_was(database: Engine, settings: Settings) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    change(database, "UPDATE dispatcher.notices SET due_at = NULL, last_sent_at = now() - interval '2 days'")
    fail(database, webhook)
    before = the_notice(database)
    send_due(database, mailer_for(settings, refusing_port()))
    after = the_notice(database)
    assert after.last_sent_at == before.last_sent_at
    assert after.claimed_until is None


def test_a_mail_server_that_is_away_is_asked_once_in_a_run(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    for status in (500, 501, 502, 503):
        fail(database, webhook_with_contact(database, settings, name=f"Hook {status}"), status=status)
    mail_server.script(Drop(Stage.GREETING))
    assert send_due(database, mailer) == tally(postponed=1)
    assert mail_server.connections == 1
    assert send_due(database, mailer) == tally(sent=3)


@pytest.mark.parametrize(
    "fault",
    [
        Say(Stage.GREETING, "554 not today"), Hang(Stage.GREETING), Drop(Stage.GREETING), Say(Stage.MAIL, "451 later"),
        Say(Stage.MAIL, "550 not this sender"), Say(Stage.RCPT, "450 greylisted"), Drop(Stage.RCPT),
        Hang(Stage.RCPT), Say(Stage.CONTENT, "452 full"), Say(Stage.CONTENT, "421 closing"),
    ],
    ids=lambda fault: f"{type(fault).__name__} {fault.stage} {getattr(fault, 'answer', '')}".strip(),
)  # fmt: skip
def test_a_failure_before_the_mail_was_taken_over_is_tried_again(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, fault: Say | Hang | Drop
) -> None:
    fail(database, webhook_with_contact(database, settings))
    mail_server.script(fault)
    assert send_due(database, mailer) == tally(postponed=1)
    assert mail_server.messages == []
    pass_time(database, "1 minute")
    assert send_due(database, mailer) == tally(sent=1)
    assert len(mail_server.messages) == 1


def test_each_try_of_a_mail_has_the_same_message_id(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    fail(database, webhook_with_contact(database, settings))
    offered = []

    class Recording(Mailer):
        def send(self, message):  # type: ignore[no-untyped-def]
            offered.append(message["Message-ID"])
            return super().send(message)

    mailer = mailer_for(settings, mail_server.port, Recording)
    mail_server.script(Say(Stage.RCPT, "450 greylisted"))
    send_due(database, mailer)
    change(database, "UPDATE dispatcher.notices SET due_at = now()")
    send_due(database, mailer)
    assert offered[0] == offered[1] == mail_server.messages[0].parsed["Message-ID"]


def test_a_mail_that_cannot_be_sent_for_a_day_is_counted_and_the_next_error_starts_anew(
    database: Engine, settings: Settings
) -> None:
    webhook = webhook_with_contact(database, settings)
    mailer = mailer_for(settings, refusing_port())
    fail(database, webhook)
    change(database, "UPDATE dispatcher.notices SET failed_sends = 27")
    assert send_due(database, mailer) == tally(dropped=1)
    notice = the_notice(database)
    assert (notice.due_at, notice.last_sent_at, notice.failed_sends, notice.suppressed_count) == (None, None, 0, 1)
    assert fail(database, webhook) == 1


def test_a_mail_about_what_happened_a_day_ago_is_not_sent_any_more(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    pass_time(database, "24 hours")
    assert send_due(database, mailer) == tally(dropped=1)
    assert mail_server.connections == 0
    assert fail(database, webhook) == 1
    assert send_due(database, mailer) == tally(sent=1)


@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.DATA, Stage.CONTENT])
def test_a_mail_that_is_refused_for_good_is_not_tried_again_within_24_hours(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, stage: Stage
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    mail_server.script(Say(stage, "550 no such user here"))
    assert send_due(database, mailer) == tally(refused=1)
    assert fail(database, webhook) == 0
    assert send_due(database, mailer) == NOTHING
    assert mail_server.messages == []
    pass_time(database, "24 hours")
    assert fail(database, webhook) == 1
    assert send_due(database, mailer) == tally(sent=1)


def test_one_refused_mail_does_not_hold_up_the_others(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    for number in range(3):
        fail(database, webhook_with_contact(database, settings, name=f"Hook {number}"))
    mail_server.script(Say(Stage.RCPT, "550 unknown"), Say(Stage.RCPT, "450 greylisted"))
    assert send_due(database, mailer) == tally(refused=1, postponed=1, sent=1)


def test_without_a_mail_server_errors_are_counted_and_one_line_says_so(
    database: Engine, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = (webhook_with_contact(database, settings, name=name) for name in ("One", "Other"))
    fail(database, one)
    fail(database, other)
    unset = Mailer(settings)
    with caplog.at_level(logging.INFO, "workers.notices"):
        assert send_due(database, unset) == NOTHING
        assert send_due(database, unset) == NOTHING
    assert [record.getMessage() for record in caplog.records] == [
        "2 notices are counted, not sent: no mail server is set (DISPATCHER_SMTP_HOST)"
    ]
    assert fail(database, one) == 0
    assert {notice.last_sent_at for notice in notices(database)} == {None}


def test_once_a_mail_server_is_set_what_is_fresh_goes_out(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    fail(database, webhook_with_contact(database, settings))
    send_due(database, Mailer(settings))
    pass_time(database, "15 minutes")
    assert send_due(database, mailer) == tally(sent=1)


# Nobody knows whether it arrived


@pytest.mark.parametrize("fault", [Drop(Stage.CONTENT), Hang(Stage.CONTENT)], ids=["dropped", "silent"])
def test_a_mail_whose_outcome_is_unknown_is_not_sent_again(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, fault: Drop | Hang
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    mail_server.script(fault)
    assert send_due(database, mailer) == tally(unknown=1)
    assert fail(database, webhook) == 0
    pass_time(database, "23 hours")
    assert send_due(database, mailer) == NOTHING
    assert len(mail_server.messages) == 1
    assert the_notice(database).last_sent_at is not None


def test_a_worker_that_crashes_between_claim_and_send_gives_no_second_mail(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    with pytest.raises(Crash):
        send_due(database, mailer_for(settings, mail_server.port, CrashingMailer))
    pass_time(database, "1 hour")  # past any claim
    assert fail(database, webhook) == 0
    assert send_due(database, mailer) == NOTHING
    assert mail_server.messages == []


def test_a_worker_killed_after_the_message_was_sent_gives_no_second_mail(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, environment: dict[str, str]
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    mail_server.script(Hang(Stage.CONTENT))
    program = (
        "from dispatcher.db.engines import make_engine; from dispatcher.settings import read_settings;"
        "from workers.notices.mailer import Mailer; from workers.notices.send import send_due;"
        "settings = read_settings();"
        "send_due(make_engine(settings.database_url.get_secret_value()), Mailer(settings))"
    )
    smtp = {"HOST": "127.0.0.1", "PORT": str(mail_server.port), "SECURITY": "none"}
    variables = os.environ | environment | {f"DISPATCHER_SMTP_{name}": value for name, value in smtp.items()}
    with subprocess.Popen([sys.executable, "-c", program], env=variables) as worker:
        mail_server.wait_for(1)
        worker.send_signal(signal.SIGKILL)
    assert the_notice(database).claimed_until is not None
    pass_time(database, "1 hour")
    assert fail(database, webhook) == 0
    assert send_due(database, mailer) == NOTHING
    assert len(mail_server.messages) == 1


def test_upkeep_closes_the_claims_of_dead_workers_and_no_others(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    for name in ("One", "Other"):
        fail(database, webhook_with_contact(database, settings, name=name))
        with pytest.raises(Crash):
            send_due(database, mailer_for(settings, mail_server.port, CrashingMailer))
        if name == "One":
            pass_time(database, "5 minutes")
    with database.begin() as connection:
        assert close_abandoned(connection) == 1
        assert close_abandoned(connection) == 0
    assert send_due(database, mailer) == NOTHING


def test_a_worker_that_outlived_its_claim_writes_nothing_over_the_next_ones(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    since = []

    class Late(Mailer):
        """By the time its mail has failed, upkeep has closed its claim and another worker has the next mail."""

        def send(self, message):  # type: ignore[no-untyped-def]
            pass_time(database, "24 hours")
            with database.begin() as connection:
                assert close_abandoned(connection) == 1
            assert fail(database, webhook) == 1
            with pytest.raises(Crash):
                send_due(database, mailer_for(settings, mail_server.port, CrashingMailer))
            since.append(the_notice(database))
            return CleanFailure("greylisted")

    send_due(database, mailer_for(settings, mail_server.port, Late))
    (others,) = since
    assert others.claimed_until is not None
    assert the_notice(database)._asdict() | {"now": others.now} == others._asdict()


# Many workers


def test_while_one_worker_sends_a_mail_another_does_not(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    fail(database, webhook_with_contact(database, settings))
    mail_server.script(Hang(Stage.CONTENT))
    first = Thread(target=send_due, args=(database, mailer))
    first.start()
    mail_server.wait_for(1)
    assert send_due(database, mailer) == NOTHING
    first.join()
    assert mail_server.connections == 1


def test_a_run_beside_another_leaves_its_slot_to_the_sweep(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    mail_server.script(Hang(Stage.CONTENT))
    first = Thread(target=alone, args=(database, mailer))
    first.start()
    mail_server.wait_for(1)
    seen(database, error(database, webhook, status=599))
    assert alone(database, mailer) == {}
    first.join()
    assert [mail.parsed["Subject"] for mail in mail_server.messages] != []
    assert alone(database, mailer) == NOTHING  # the first run found the second mail, too
    assert mail_server.connections == 2


def test_a_run_whose_machine_is_gone_stops_others_for_no_longer_than_one_mail_takes(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LONGEST_MAIL", timedelta(seconds=1))
    monkeypatch.setattr(mailer, "_end_timeout", 4.0)
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    mail_server.script(Hang(Stage.CONTENT))
    with ThreadPoolExecutor(1) as pool:
        gone = pool.submit(alone, database, mailer)  # to the database, it is as if its machine were gone
        mail_server.wait_for(1)
        seen(database, error(database, webhook, status=599))
        assert alone(database, mailer) == {}
        until = monotonic() + 10
        while (sent := alone(database, mailer)) == {}:
            assert monotonic() < until, "no other run begins"
            sleep(0.05)
        assert sent["sent"] == 1
        assert not gone.done()
        with pytest.raises(OperationalError):  # it learns that before its next mail
            gone.result()


def test_two_workers_that_claim_at_the_same_instant_give_one_mail(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    fail(database, webhook_with_contact(database, settings))
    both, waited = Barrier(2, timeout=10), set()

    def together(connection: object, cursor: object, statement: str, *_: object) -> None:
        # Both have begun and neither has claimed: as close as two workers can come.
        if "n.id = " in statement and "SKIP LOCKED" in statement and get_ident() not in waited:
            waited.add(get_ident())
            both.wait()

    event.listen(database, "before_cursor_execute", together)
    try:
        with ThreadPoolExecutor(2) as workers:
            results = [workers.submit(send_due, database, mailer) for _ in range(2)]
    finally:
        event.remove(database, "before_cursor_execute", together)
    assert sorted(result.result()["sent"] for result in results) == [0, 1]
    assert len(mail_server.messages) == 1


def test_many_workers_share_the_mails_and_send_none_twice(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    seen(database, *[error(database, webhook, status=status) for status in range(500, 540)])
    with ThreadPoolExecutor(4) as workers:
        results = list(workers.map(lambda _: send_due(database, mailer), range(4)))
    results.append(send_due(database, mailer))  # a run whose next notice another one takes at that moment ends early
    assert sum(result["sent"] for result in results) == 40
    assert len({mail.parsed["Message-ID"] for mail in mail_server.messages}) == len(mail_server.messages) == 40


def test_a_flushed_broker_changes_nothing(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, broker: "redis.Redis"
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    broker.flushall()
    assert send_due(database, mailer) == tally(sent=1)
    broker.flushall()
    fail(database, webhook)
    assert send_due(database, mailer) == NOTHING
    assert len(mail_server.messages) == 1


def test_a_run_ends_after_so_many_mails(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings)
    seen(database, *[error(database, webhook, status=status) for status in range(500, 505)])
    assert send_due(database, mailer, most=3) == tally(sent=3)
    assert send_due(database, mailer) == tally(sent=2)


def test_a_run_that_stopped_before_all_was_sent_is_followed_by_another_at_once(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MAX_MAILS", 2)
    webhook = webhook_with_contact(database, settings)
    seen(database, *[error(database, webhook, status=status) for status in range(500, 503)])
    next_ones: list[dict[str, int]] = []
    assert send_due_alone(database, mailer, lambda: next_ones.append(alone(database, mailer))) == tally(sent=2)
    assert next_ones == [tally(sent=1)]


def test_a_mail_server_that_is_away_is_not_called_again_at_once(database: Engine, settings: Settings) -> None:
    webhook = webhook_with_contact(database, settings)
    seen(database, *[error(database, webhook, status=status) for status in range(500, 503)])
    assert alone(database, mailer_for(settings, refusing_port())) == tally(postponed=1)


def test_what_makes_no_mail_ends_together_and_takes_no_mails_place(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PIECES", 1)  # of 1,000; the mail's turn is after it
    of_webhook = "(SELECT id FROM dispatcher.webhooks WHERE name = :name)"
    unmailed = {
        "unsubscribed": "UPDATE dispatcher.recipients SET unsubscribed_at = now(), confirmed_at = NULL"
        " WHERE address = :name || '@acme.test'",
        "declined": "WITH stranger AS (UPDATE dispatcher.recipients SET confirmed_at = NULL"
        " WHERE address = :name || '@acme.test' RETURNING mailbox)"
        " INSERT INTO dispatcher.contacts (mailbox, declined_at) SELECT mailbox, now() FROM stranger",
        "deleted": "UPDATE dispatcher.webhooks SET deleted_at = now() WHERE name = :name",
        "without": "UPDATE dispatcher.webhooks SET contact_email = NULL WHERE name = :name",
        "old": "WITH known AS (INSERT INTO dispatcher.contacts (mailbox) VALUES (:name || '@acme.test'))"
        " UPDATE dispatcher.notices SET observed_at = now() - interval '1 day', held_for = :name || '@acme.test'"
        f" WHERE webhook_id = {of_webhook}",
    }
    for name, make_so in unmailed.items():
        fail(database, webhook_with_contact(database, settings, name=name, contact_email=f"{name}@acme.test"))
        change(
            database,
            "INSERT INTO dispatcher.notices (id, webhook_id, kind, fingerprint, observed_at, delivery_id, due_at)"
            " SELECT gen_random_uuid(), webhook_id, kind, 'http_' || n, observed_at, delivery_id, due_at"
            f" FROM dispatcher.notices, generate_series(1000, 1199) n WHERE webhook_id = {of_webhook}",
            name=name,
        )
        change(database, make_so, name=name)
    fail(database, webhook_with_contact(database, settings, account="globex", name="another's"))
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database, "before_cursor_execute", note)
    try:
        assert send_due(database, mailer) == tally(sent=1, unsubscribed=402, dropped=603)
    finally:
        event.remove(database, "before_cursor_execute", note)
    assert len(statements) < 30
    (mail,) = mail_server.messages
    assert "another's" in mail.parsed["Subject"]
    ended = rows(
        database,
        "SELECT w.name, count(*), n.due_at, n.claimed_until, n.held_for, n.suppressed_count,"
        " n.last_sent_at IS NOT NULL AS is_quiet FROM dispatcher.notices n"
        " JOIN dispatcher.webhooks w ON w.id = n.webhook_id WHERE w.name <> 'another''s'"
        " GROUP BY 1, 3, 4, 5, 6, 7 ORDER BY 1",
    )
    assert [tuple(row) for row in ended] == [
        ("declined", 201, None, None, "declined@acme.test", 1, True),
        ("deleted", 201, None, None, None, 1, False),
        ("old", 201, None, None, None, 1, False),
        ("unsubscribed", 201, None, None, "unsubscribed@acme.test", 1, True),
        ("without", 201, None, None, None, 1, False),
    ]
    outdated = rows(database, "SELECT mailbox, outdated FROM dispatcher.contacts WHERE outdated > 0")
    assert [tuple(row) for row in outdated] == [("old@acme.test", 201)]


def test_accounts_take_turns_however_many_mails_one_of_them_has_due(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    many = webhook_with_contact(database, settings, name="many")
    seen(database, *[error(database, many, status=status) for status in range(500, 505)])
    change(database, "UPDATE dispatcher.notices SET due_at = now() - interval '1 hour'")
    fail(database, webhook_with_contact(database, settings, account="globex", name="one"))
    assert send_due(database, mailer, most=3) == tally(sent=3)
    assert [mail.parsed["Subject"].rpartition(" ")[2] for mail in mail_server.messages] == ["many", "one", "many"]


def test_a_run_begins_no_mail_after_its_time(
    database: Engine, settings: Settings, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = webhook_with_contact(database, settings)
    seen(database, *[error(database, webhook, status=status) for status in range(500, 503)])
    times = iter([100.0, 100.0, 100.0, 101.0, 100.0 + sending.RUN_SECONDS])
    monkeypatch.setattr(sending, "monotonic", lambda: next(times))
    assert send_due(database, mailer) == tally(sent=2)
    monkeypatch.undo()
    assert send_due(database, mailer) == tally(sent=1)


def test_what_has_been_due_longest_is_mailed_first(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    for name, minutes in (("Second", 2), ("First", 3), ("Third", 1)):
        webhook = webhook_with_contact(database, settings, name=name)
        fail(database, webhook)
        change(
            database,
            "UPDATE dispatcher.notices SET due_at = now() - :since WHERE webhook_id = :id",
            since=timedelta(minutes=minutes),
            id=webhook.id,
        )
    assert send_due(database, mailer) == tally(sent=3)
    assert [mail.parsed["Subject"].rpartition(" ")[2] for mail in mail_server.messages] == ["First", "Second", "Third"]


def test_about_webhooks_of_a_suspended_account_no_mail_is_sent_and_later_only_what_is_not_too_old(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    for name in ("fresh", "old"):
        fail(database, webhook_with_contact(database, settings, name=name))
    fail(database, webhook_with_contact(database, settings, account="globex", name="another's"))
    change(database, "UPDATE dispatcher.accounts SET suspended_at = now() WHERE name = 'acme'")
    assert send_due(database, mailer) == tally(sent=1)
    change(
        database,
        "UPDATE dispatcher.notices n SET observed_at = now() - interval '25 hours'"
        " FROM dispatcher.webhooks w WHERE w.id = n.webhook_id AND w.name = 'old'",
    )
    change(database, "UPDATE dispatcher.accounts SET suspended_at = NULL")
    pass_time(database, "5 minutes")
    assert send_due(database, mailer) == tally(sent=1, dropped=1)
    assert len(mail_server.messages) == 2


def test_before_the_notices_of_others_many_of_a_suspended_account_are_read_once_and_in_pieces(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PIECES", 1)  # so a run goes on after a round without a mail
    of_many = make_webhook(database, settings, url="https://hooks.acme.test/")
    make_many_webhooks(database, 2_500)
    change(
        database,
        "INSERT INTO dispatcher.notices (id, webhook_id, kind, fingerprint, observed_at, delivery_id, due_at)"
        " SELECT id, id, 'message_retrying', 'http_503', now(), id, now() - interval '1 minute'"
        " FROM dispatcher.webhooks WHERE id <> :id",
        id=of_many.id,
    )
    change(database, "ANALYZE dispatcher.notices, dispatcher.webhooks")
    change(database, "UPDATE dispatcher.accounts SET suspended_at = now()")
    others = [webhook_with_contact(database, settings, account="globex", name=name) for name in ("one", "two")]
    for webhook, pieces in ((others[0], [1_000, 1_000, 500]), (others[1], [])):
        fail(database, webhook)
        postponed: list[int] = []

        def note(_connection: object, cursor: Any, statement: str, *_: object, to: list[int] = postponed) -> None:
            if "SET due_at = now() +" in statement and cursor.rowcount:
                to.append(cursor.rowcount)

        event.listen(database, "after_cursor_execute", note)
        try:
            assert send_due(database, mailer) == tally(sent=1)
        finally:
            event.remove(database, "after_cursor_execute", note)
        assert postponed == pieces
    fail(database, webhook, status=502)
    with Session(database) as session, reading_less_than(200, session, "webhooks"):
        assert len(turns(session.connection(), 200)) == 1
