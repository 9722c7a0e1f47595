"""What receivers answer is kept, shown and mailed without being obeyed, whatever it is made of."""

import gzip
import json

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests import hostile_values
from tests.behaviours import Answer, Step, chunked
from tests.factories import attempts, change, deliver_all, deliveries, make_webhook, rows
from tests.hostile_values import steering
from tests.integration.cli.conftest import Cli
from tests.mail_server import MailServer
from tests.receiver import Receiver
from workers.notices.mailer import Mailer
from workers.notices.send import send_due


def in_a_header(raw: bytes) -> bytes:
    """The part of it that a header can hold at all."""
    return raw.translate(None, b"\0\r\n")


def answer(raw: bytes, headers: bytes = b"") -> bytes:
    """What follows the status: an odd reason, and `raw` in a header and as the body."""
    reason = "\x1b]0;owned\x07\u202e".encode()
    lines = [reason, b"X-Why: " + in_a_header(raw), b"Content-Length: %d" % len(raw)]
    return b"\r\n".join(lines) + b"\r\n" + headers + b"\r\n" + raw


BODIES = [*(text.encode() for text in hostile_values.TEXTS.values()), *hostile_values.NO_UTF8.values()]
ANSWERS = [
    *map(answer, BODIES),
    answer("<b>ascii</b>".encode("utf-16"), b"Content-Type: text/html; charset=utf-16\r\n"),
    answer(b"<script>alert(1)</script>", b"Content-Type: text/html; charset=\x1b[2J\r\n"),
    answer(b"[" * 60_000, b"Content-Type: application/json\r\n")[:-1] + b"]",
]


def reject_all(database: Engine, settings: Settings, receiver: Receiver) -> None:
    """A webhook for each answer, and one for a good one; an event for all of them is delivered."""
    for status, rest in enumerate(ANSWERS, 400):
        receiver.script(f"/{status}", (b"HTTP/1.1 %d " % status + rest,))
        make_webhook(
            database, settings, url=receiver.url(f"/{status}"), name=str(status), contact_email=f"to{status}@acme.test"
        )
    make_webhook(database, settings, url=receiver.url("/good"), name="good")
    enqueue("message.sent", {"n": 1}, account="acme", subject="\x1b]0;s\x07\u202e<i>{{7*7}}")
    counts = {"claimed": len(ANSWERS) + 1, "delivered": 1, "retried": 0, "discarded": len(ANSWERS)}
    assert deliver_all(settings) == counts


@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_the_status_decides_and_the_bytes_are_kept(
    database: Engine, settings: Settings, receiver: Receiver, transport: str
) -> None:
    reject_all(database, settings.model_copy(update={"transport": transport}), receiver)
    kept = {row.status: row for row in attempts(database)}
    assert kept.keys() == {200, *range(400, 400 + len(ANSWERS))}
    for status, body in enumerate(BODIES, 400):
        assert bytes(kept[status].answer_excerpt) == body
        assert f"X-Why: {in_a_header(body).decode('latin-1').strip()}" in kept[status].answer_headers


def test_a_hostile_answer_is_shown_and_mailed_without_harm(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver, mailer: Mailer, mail_server: MailServer
) -> None:
    reject_all(database, settings, receiver)
    for delivery in deliveries(database):
        shown = cli("delivery", "show", delivery.id)
        assert shown.status == 0
        assert not steering(shown.out)
        assert len(shown.out) < 40_000
    for form in ((), ("--json",)):
        assert not steering(cli("event", "show", delivery.event_id, *form).out)
        assert not steering(cli("delivery", "list", "--account", "acme", "--limit", 100, *form).out)
        assert not steering(cli("event", "list", "--account", "acme", *form).out)
    assert cli("delivery", "show", delivery.id, "--json").out.isascii()

    assert send_due(database, mailer)["sent"] == len(ANSWERS)
    for mail in mail_server.wait_for(len(ANSWERS)):
        (recipient,) = mail.recipients
        assert recipient.startswith("to4")
        assert mail.content.isascii()  # 7 bit on the wire
        assert not steering(mail.content.decode(), allowed="\r\n")
        assert not steering(mail.body("plain") + mail.body("html") + str(mail.parsed["Subject"]))
        assert mail.parsed["Bcc"] is None
        html = mail.body("html")
        assert [tag for tag in ("<script", "<img", "<b>", "<i>") if tag in html] == []
        assert "{{7*7}}" in mail.body("plain")


def test_a_body_is_kept_as_it_came_whatever_it_says_it_is(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    bodies = [b"\xff\xfe\0", b'{"a":NaN', b"\x1f\x8b broken", b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"]
    types = ("text/plain; charset=utf-7", "application/json", "text/html", "application/xml", "\x9b", "multipart/mixed")
    expected = []
    for number, body in enumerate(bodies):
        for place, content_type in enumerate(types):
            path = f"/{number}/{place}"
            receiver.script(path, Answer(404, (("Content-Type", content_type),), body))
            make_webhook(database, settings, url=receiver.url(path))
            expected.append(body)
    enqueue("a", 1, account="acme")
    deliver_all(settings)
    assert sorted(bytes(row.answer_excerpt) for row in attempts(database)) == sorted(expected)
    assert {(row.answer_cut, row.answer_unreadable) for row in attempts(database)} == {(False, False)}


RETRY_AFTER = ["9" * 5_000, "-1", "NaN", "1e9", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT",
               "\x1b[2J", "<b>", "Fri, 31 Dec 9999 23:59:59 -2359", "0", "60, 60"]  # fmt: skip


def test_a_hostile_retry_after_moves_a_retry_by_an_hour_at_most(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    rules = {"503": {"verdict": "temporary", "honour_retry_after": True}}
    for number, text in enumerate(RETRY_AFTER):
        receiver.script(f"/{number}", Answer(503, (("Retry-After", text), ("Retry-After", "86400"))))
        make_webhook(database, settings, url=receiver.url(f"/{number}"), contract={"rules": rules})
    enqueue("a", 1, account="acme")
    deliver_all(settings)
    waits = rows(database, "SELECT state, extract(epoch FROM due_at - now()) AS seconds FROM dispatcher.deliveries")
    assert {row.state for row in waits} == {"waiting"}
    assert len(waits) == len(RETRY_AFTER)
    assert all(30 < row.seconds <= 3600 for row in waits)


@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_hostile_receivers_do_not_hold_up_the_good_one(
    database: Engine, settings: Settings, receiver: Receiver, transport: str
) -> None:
    bomb = gzip.compress(b"\0" * 20_000_000)
    evil: list[Answer | tuple[Step, ...]] = [
        Answer(200, (("Content-Encoding", "gzip"),), bomb),
        Answer(200, (("Content-Encoding", "gzip, gzip, gzip"),), gzip.compress(gzip.compress(bomb))),
        Answer(302, (("Location", receiver.url("/trap")), ("Refresh", f"0; url={receiver.url('/trap')}"))),
        Answer(201, (("Set-Cookie", "a=b"), ("Location", "/trap"), ("Link", "</trap>; rel=preload"))),
        Answer(401, (("WWW-Authenticate", 'Basic realm="\x1b[2J"'), ("Alt-Svc", 'h2=":1"'))),
        Answer(407, (("Proxy-Authenticate", "Basic"),)),
        chunked(b"1\r\nx\r\n0\r\nX-Trailer: \x1b[2J\r\nStatus: 500\r\n\r\n"),
        chunked(b"ffffffffffffffffff\r\n"),
        (b"\x16\x03\x01\x02\x00", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n",),
    ]
    for number, script in enumerate(evil):
        receiver.script(f"/{number}", script)
        make_webhook(database, settings, url=receiver.url(f"/{number}"))
    good = make_webhook(database, settings, url=receiver.url("/good"))
    for number in range(3):
        enqueue("a", number, account="acme")
    deliver_all(settings.model_copy(update={"transport": transport}))
    of_good = rows(database, "SELECT state FROM dispatcher.deliveries WHERE webhook_id = :id", id=good.id)
    assert [row.state for row in of_good] == ["delivered"] * 3
    assert len(deliveries(database)) == 3 * (len(evil) + 1)
    assert all(row.state in {"delivered", "discarded", "waiting"} for row in deliveries(database))
    assert receiver.at("/trap") == []
    assert all(callback.header("Cookie") is None for callback in receiver.received)
    assert all("X-Trailer" not in (row.answer_headers or "") for row in attempts(database))
    assert all(len(bytes(row.answer_excerpt or b"")) <= 4096 for row in attempts(database))


def test_what_was_kept_before_it_was_checked_is_shown_without_harm(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    """Rows that another program or an older version wrote: showing must be safe by itself."""
    webhook = make_webhook(database, settings, url=receiver.url("/status/404"), name="n")
    event = enqueue("a", {"n": 1}, account="acme", subject="s").event_id
    deliver_all(settings)
    (delivery,) = deliveries(database)
    together = " ".join(hostile_values.TEXTS.values())
    for text in (together, hostile_values.TEXTS["markup"]):
        change(
            database,
            "UPDATE dispatcher.webhooks SET name = :t, app = :t, contact_email = :t, disabled_reason = :t,"
            " disabled_by = :t, url_masked = :t, event_types = ARRAY[:t]",
            t=text,
        )
        change(
            database,
            "UPDATE dispatcher.requests SET method = :t, url_masked = :t, headers_masked = :t, failure = :t,"
            " failure_detail = :t, answer_headers = :t, status = NULL",
            t=text,
        )
        change(database, "UPDATE dispatcher.events SET type = :t, app = :t, subject = :t", t=text)
        change(database, "UPDATE dispatcher.accounts SET name = :t", t=text)
        for command in (
            ("webhook", "list"),
            ("webhook", "show", webhook.id),
            ("account", "list"),
            ("delivery", "show", delivery.id),
            ("delivery", "list", "--webhook", webhook.id),
            ("event", "show", event),
        ):
            for form in ((), ("--json",)):
                shown = cli(*command, *form)
                assert shown.status == 0, shown.err
                assert not steering(shown.out), (command, text)
                assert json.loads(shown.out) if form else "[bold red]" in shown.out
