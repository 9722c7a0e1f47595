"""The mailer against a real mail server: protection, login, and every way to fail told as a value."""

from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from pydantic import SecretStr

from dispatcher.settings import Settings
from tests.certificates import Authority, new_authority, self_signed_server
from tests.dead_ports import UnansweringPort, refusing_port
from tests.integration.workers.notices.conftest import mailer_for
from tests.mail_server import Drop, Hang, MailServer, Say, Stage
from workers.notices.mailer import CleanFailure, Mailer, MaybeSent, PermanentFailure, Sent

PASSWORD = "pass763265word"
LOGIN = {"smtp_username": "hooks", "smtp_password": SecretStr(PASSWORD)}


@pytest.fixture
def settings() -> Settings:
    """No database is needed here."""
    return Settings(database_url="postgresql://nowhere/none", broker_url="redis://nowhere")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


def a_mail(mailer: Mailer, plain: str = "Hello", to: str = "ops@acme.test") -> EmailMessage:
    message = mailer.message(
        to=to, subject="Hi", plain=plain, html="<p>Hello</p>", message_id="1.2", date=datetime(2025, 8, 1, tzinfo=UTC)
    )
    assert message is not None
    return message


def test_a_mail_arrives_with_its_headers_and_both_forms(mailer: Mailer, mail_server: MailServer) -> None:
    assert mailer.send(a_mail(mailer)) == Sent()
    (mail,) = mail_server.messages
    assert {name: str(value) for name, value in mail.parsed.items() if not name.startswith("Content")} == {
        "From": "Hooks <hooks@we.test>",
        "To": "ops@acme.test",
        "Subject": "Hi",
        "Date": "Fri, 01 Aug 2025 00:00:00 +0000",
        "Message-ID": "<1.2@we.test>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "MIME-Version": "1.0",
    }
    assert (mail.body("plain"), mail.body("html")) == ("Hello\n", "<p>Hello</p>\n")


@pytest.mark.parametrize("text", ["a\n.\n..\n.b\nc", "\n".join(["x" * 5000] * 3), "Grüße, 東京 \u2603", ".\n"])
def test_a_text_arrives_as_it_was(mailer: Mailer, mail_server: MailServer, text: str) -> None:
    assert mailer.send(a_mail(mailer, text)) == Sent()
    (mail,) = mail_server.messages
    assert mail.body().rstrip("\n") == text.rstrip("\n")
    assert mail.content.isascii()
    assert max(map(len, mail.content.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_protected_connection_carries_login_and_mail(settings: Settings, authority: Authority, security: str) -> None:
    tls = authority.server("127.0.0.1")
    with MailServer(**{security: tls}, login=("hooks", PASSWORD)) as server:  # type: ignore[arg-type]
        mailer = mailer_for(settings, server.port, smtp_security=security, ca_bundle=authority.bundle, **LOGIN)
        assert mailer.send(a_mail(mailer)) == Sent()
        (mail,) = server.messages
    assert mail.encrypted
    assert mail.login == "hooks"


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("wrong", ["name", "expired", "unknown"])
def test_a_certificate_that_does_not_fit_ends_it_before_login(
    settings: Settings, authority: Authority, tmp_path: Path, security: str, wrong: str
) -> None:
    tls = {
        "name": lambda: authority.server("mail.elsewhere.test"),
        "expired": lambda: authority.server("127.0.0.1", expired=True),
        "unknown": lambda: self_signed_server(tmp_path, "127.0.0.1"),
    }[wrong]()
    with MailServer(**{security: tls}) as server:  # type: ignore[arg-type]
        mailer = mailer_for(settings, server.port, smtp_security=security, ca_bundle=authority.bundle, **LOGIN)
        result = mailer.send(a_mail(mailer))
        assert server.messages == []
    assert isinstance(result, CleanFailure)
    assert result.unavailable
    assert "certificate" in result.detail


def test_a_server_without_starttls_gets_neither_password_nor_mail(settings: Settings) -> None:
    with MailServer(login=("hooks", PASSWORD)) as server:
        mailer = mailer_for(settings, server.port, smtp_security="starttls", **LOGIN)
        result = mailer.send(a_mail(mailer))
        assert server.messages == []
    assert result == CleanFailure(
        "the mail server does not offer what the settings ask for (STARTTLS or login)", unavailable=True
    )


def test_a_refused_login_is_reported_without_the_password(settings: Settings) -> None:
    with MailServer(login=("hooks", "another")) as server:
        mailer = mailer_for(settings, server.port, **LOGIN)
        result = mailer.send(a_mail(mailer))
    assert result == CleanFailure("the mail server refused the login (535)", unavailable=True)


def test_a_password_that_no_login_can_carry_is_reported_without_it(settings: Settings) -> None:
    with MailServer(login=("hooks", "x")) as server:
        secret = {"smtp_username": "hooks", "smtp_password": SecretStr("pässwörd")}
        mailer = mailer_for(settings, server.port, **secret)
        result = mailer.send(a_mail(mailer))
    assert isinstance(result, CleanFailure)
    assert "rd" not in result.detail.replace("server", "")
    assert "pässwörd" not in repr(result) + repr(mailer)


@pytest.mark.parametrize(
    ("fault", "kind", "unavailable"),
    [
        (Say(Stage.GREETING, "554 no"), CleanFailure, True),
        (Say(Stage.GREETING, "hello?"), CleanFailure, True),
        (Hang(Stage.GREETING), CleanFailure, True),
        (Drop(Stage.GREETING), CleanFailure, True),
        (Say(Stage.MAIL, "450 later"), CleanFailure, False),
        (Say(Stage.MAIL, "550 not you"), CleanFailure, True),
        (Drop(Stage.MAIL), CleanFailure, True),
        (Say(Stage.RCPT, "450 later"), CleanFailure, False),
        (Say(Stage.RCPT, "421 closing"), CleanFailure, True),
        (Say(Stage.RCPT, "gibberish"), CleanFailure, True),
        (Say(Stage.RCPT, "550 unknown"), PermanentFailure, None),
        (Hang(Stage.RCPT), CleanFailure, True),
        (Say(Stage.CONTENT, "452 full"), CleanFailure, False),
        (Say(Stage.CONTENT, "554 spam"), PermanentFailure, None),
        (Say(Stage.CONTENT, "gibberish"), MaybeSent, None),
        (Drop(Stage.CONTENT), MaybeSent, None),
        (Hang(Stage.CONTENT), MaybeSent, None),
    ],
    ids=repr,
)
def test_every_failure_is_a_value(
    mailer: Mailer,
    mail_server: MailServer,
    fault: Say | Hang | Drop,
    kind: type[CleanFailure | PermanentFailure | MaybeSent],
    unavailable: bool | None,
) -> None:
    mail_server.script(fault)
    result = mailer.send(a_mail(mailer))
    assert isinstance(result, kind)
    assert getattr(result, "unavailable", None) is unavailable
    assert result.detail
    assert mailer.send(a_mail(mailer)) == Sent()


def test_a_server_that_is_not_there_is_a_clean_failure(settings: Settings) -> None:
    mailer = mailer_for(settings, refusing_port())
    assert mailer.send(a_mail(mailer)) == CleanFailure("the mail server refuses connections", unavailable=True)


def test_a_server_that_does_not_accept_is_a_clean_failure(settings: Settings) -> None:
    with UnansweringPort() as silent:
        mailer = mailer_for(settings, silent.port)
        assert isinstance(mailer.send(a_mail(mailer)), CleanFailure)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "bad..name", "x" * 70])
def test_a_host_that_does_not_exist_is_a_clean_failure(settings: Settings, host: str) -> None:
    mailer = mailer_for(settings, 25, smtp_host=host)
    result = mailer.send(a_mail(mailer))
    assert isinstance(result, CleanFailure)
    assert result.unavailable


def test_a_sender_may_have_any_name(settings: Settings, mail_server: MailServer) -> None:
    mailer = mailer_for(settings, mail_server.port, mail_from='"Grüße, von uns" <hooks@we.test>')
    assert mailer.send(a_mail(mailer)) == Sent()
    (sender,) = mail_server.messages[0].parsed["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ("Grüße, von uns", "hooks@we.test")


@pytest.mark.parametrize("to", ['"a b"@acme.test', "o'ps+x@acme.test"])
def test_unusual_addresses_that_are_right_are_used_as_they_are(
    mailer: Mailer, mail_server: MailServer, to: str
) -> None:
    assert mailer.send(a_mail(mailer, to=to)) == Sent()
    assert mail_server.messages[0].recipients == (to,)
