"""Hands one mail to the mail server. The result is a value; only an invalid setting raises."""

import re
import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, Policy
from typing import Any, TypeAlias
from uuid import UUID

from dispatcher.accounts.mail_links import LinksOfMail, MailLinks
from dispatcher.egress.mail_addresses import mail_address, read_sender
from dispatcher.masking.messages import member_names
from dispatcher.settings import Settings
from dispatcher.settings.quotas import Quota, limit_of
from dispatcher.transport.trust import tls_context, trusted_authorities
from schedules.mail_limits import MailLimits
from workers.notices.excerpts import one_line
from workers.notices.smtp_answers import MailConnection, TlsMailConnection

STEP_TIMEOUT = 10.0  # seconds for each answer of the mail server
END_TIMEOUT = 60.0  # for the last one: giving up earlier would needlessly leave it unknown whether the mail was sent
_QUIT_TIMEOUT = 2.0


class _OneLine(UnstructuredHeader, BaseHeader):
    """A link in a header: it stays as it is, however long."""

    def fold(self, *, policy: "Policy[Any]") -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _OneLine)

# 7 bit: every mail server on the way understands it.
_POLICY = SMTP.clone(cte_type="7bit", header_factory=_HEADERS)

_RECIPIENT_TAKEN = frozenset({250, 251, 252})
_GO_ON = frozenset({354})
_GONE = frozenset({-1, 421})  # an answer that cannot be read, or "closing": no other mail could be sent now


@dataclass(frozen=True, slots=True)
class Sent:
    """The mail server accepted the message."""


@dataclass(frozen=True, slots=True)
class CleanFailure:
    """The message was certainly not accepted: it may be tried again. With `unavailable` no other mail would be accepted
    now."""

    detail: str
    unavailable: bool = False


@dataclass(frozen=True, slots=True)
class PermanentFailure:
    """The mail server refuses this recipient or this message for good."""

    detail: str


@dataclass(frozen=True, slots=True)
class MaybeSent:
    """The message was sent, but no answer to it came: trying again could send it twice."""

    detail: str


MailResult: TypeAlias = Sent | CleanFailure | PermanentFailure | MaybeSent


class Mailer:
    """Opens a connection to the mail server for each mail. Certificates are verified; details contain no secrets."""

    def __init__(
        self,
        settings: Settings,
        links: MailLinks | None = None,
        *,
        step_timeout: float = STEP_TIMEOUT,
        end_timeout: float = END_TIMEOUT,
    ) -> None:
        """Without `links`, or without the setting `public_url`, mails have none. Raises ConfigurationError if TLS has
        no authorities to trust."""
        self._settings = settings
        self._sender = read_sender(settings.mail_from)
        # Made before the first mail is claimed, so that a mistake in it costs none.
        encrypted = self.configured and settings.smtp_security != "none"
        self._tls = tls_context(trusted_authorities(settings.ca_bundle)) if encrypted else None
        self.masked_members = member_names(settings.masked_members)  # what mails do not show
        self.sender = str(self._sender)  # in words
        self._links = links
        self._step_timeout, self._end_timeout = step_timeout, end_timeout

    @property
    def configured(self) -> bool:
        """Whether there is a mail server to send to."""
        return bool(self._settings.smtp_host)

    def limits_for(self, own: object) -> MailLimits:
        """The limits on the mails of an account with these limits of its own, as they are stored."""
        return MailLimits(
            per_contact_hour=self._settings.mails_per_contact_hour,
            per_webhook_minute=self._settings.mails_per_webhook_minute,
            per_account_hour=limit_of(Quota.MAILS_PER_HOUR, own, self._settings.default_limits) or 0,
            per_hour=self._settings.mails_per_hour,
        )

    def links_for(self, recipient: UUID, now: datetime) -> LinksOfMail | None:
        """The links for a mail to this recipient, if it can have any."""
        if self._links is None or not self._settings.public_url:
            return None
        return LinksOfMail.made(self._links, self._settings.public_url, recipient, now)

    def message(
        self,
        *,
        to: str,
        subject: str,
        plain: str,
        html: str,
        message_id: str,
        date: datetime,
        unsubscribe: str | None = None,
    ) -> EmailMessage | None:
        """The message; None if `to` is not an address that a mail can be sent to. `message_id` is the local part of its
        Message-ID, `unsubscribe` a link."""
        recipient = mail_address(to)
        if recipient is None:
            return None
        message = EmailMessage(policy=_POLICY)
        message["From"] = self._sender
        message["To"] = recipient
        message["Subject"] = one_line(subject)
        message["Date"] = date
        message["Message-ID"] = f"<{message_id}@{self._sender.domain}>"
        # Out-of-office replies and the like must not answer.
        if unsubscribe is not None:
            message["List-Unsubscribe"] = f"<{unsubscribe}>"
            if unsubscribe.startswith("https:"):  # RFC 8058 knows no other
                message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        message.set_content(plain)
        message.add_alternative(html, subtype="html")
        return message

    def send(self, message: EmailMessage) -> MailResult:
        """Sends a message made by `message()`. Blocks for a bounded time at each step; never raises for a fault of the
        server or the network."""
        sender, recipient = (message[name].addresses[0].addr_spec for name in ("From", "To"))
        content = re.sub(rb"(?m)^\.", b"..", message.as_bytes())
        smtp: smtplib.SMTP | None = None
        try:
            smtp = self._connect()
            self._prepare(smtp)
            return self._converse(smtp, sender, recipient, content)
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            return CleanFailure(_described(error), unavailable=True)
        finally:
            if smtp is not None:
                smtp.close()

    def try_login(self) -> CleanFailure | None:
        """Connects, logs in as for a mail, and leaves: nothing is sent. Why that fails, if it does."""
        smtp: smtplib.SMTP | None = None
        try:
            smtp = self._connect()
            self._prepare(smtp)
            code, answer = smtp.noop()
            with suppress(OSError, smtplib.SMTPException):
                _wait_at_most(_QUIT_TIMEOUT, smtp)
                smtp.quit()
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            return CleanFailure(_described(error), unavailable=True)
        finally:
            if smtp is not None:
                smtp.close()
        return None if code == 250 else CleanFailure(_answered("NOOP", code, answer), unavailable=True)

    def _connect(self) -> smtplib.SMTP:
        host, port, timeout = self._settings.smtp_host, self._settings.smtp_port, self._step_timeout
        # It greets with the sender's domain: finding this machine's own name could block on DNS.
        name = self._sender.domain
        if self._settings.smtp_security == "tls":
            return TlsMailConnection(host, port, name, timeout=timeout, context=self._tls)
        return MailConnection(host, port, name, timeout=timeout)

    def _prepare(self, smtp: smtplib.SMTP) -> None:
        if self._settings.smtp_security == "starttls":
            smtp.starttls(context=self._tls)
        smtp.ehlo_or_helo_if_needed()
        if self._settings.smtp_username:
            smtp.login(self._settings.smtp_username, self._settings.smtp_password.get_secret_value())

    def _converse(self, smtp: smtplib.SMTP, sender: str, recipient: str, content: bytes) -> MailResult:
        code, answer = smtp.mail(sender)
        if code != 250:
            # A refused sender is a problem of the settings, not of this mail.
            return CleanFailure(_answered("MAIL FROM", code, answer), unavailable=code >= 500 or code in _GONE)
        for stage, awaited in ((f"RCPT TO:<{recipient}>", _RECIPIENT_TAKEN), ("DATA", _GO_ON)):
            code, answer = smtp.docmd(stage)
            if code not in awaited:
                return _refused(stage.partition(":")[0], code, answer)
        smtp.send(content)  # an error here is a clean failure: without the final dot nothing is accepted
        result = self._end(smtp)
        if isinstance(result, Sent):
            with suppress(OSError, smtplib.SMTPException):
                _wait_at_most(_QUIT_TIMEOUT, smtp)
                smtp.quit()
        return result

    def _end(self, smtp: smtplib.SMTP) -> MailResult:
        """Sends the final dot, which hands the message over, and reads the answer to it."""
        try:
            _wait_at_most(self._end_timeout, smtp)
            smtp.send(b".\r\n")
            code, answer = smtp.getreply()
        except (OSError, smtplib.SMTPException) as error:
            return MaybeSent(_described(error))
        if code == 250:
            return Sent()
        if code == -1:
            return MaybeSent("the mail server's last answer could not be read")
        return _refused("the message", code, answer)


def _wait_at_most(seconds: float, smtp: smtplib.SMTP) -> None:
    if smtp.sock is not None:
        smtp.sock.settimeout(seconds)


def _refused(stage: str, code: int, answer: bytes) -> CleanFailure | PermanentFailure:
    detail = _answered(stage, code, answer)
    return PermanentFailure(detail) if code >= 500 else CleanFailure(detail, unavailable=code in _GONE)


def _answered(stage: str, code: int, answer: bytes) -> str:
    return f"the mail server answered {code} to {stage}: {one_line(answer.decode(errors='replace'), 160)}"


def _described(error: Exception) -> str:  # noqa: PLR0911 - a table
    """Our own words: the error's text could contain what was sent."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"the mail server refused the login ({error.smtp_code})"
        case smtplib.SMTPResponseException():
            return f"the mail server answered {error.smtp_code} before a mail could be sent"
        case smtplib.SMTPNotSupportedError():
            return "the mail server does not offer what the settings ask for (STARTTLS or login)"
        case ssl.SSLCertVerificationError():
            return f"the mail server's certificate is not accepted: {error.verify_message}"
        case smtplib.SMTPServerDisconnected() | TimeoutError():
            return "the mail server did not answer in time, or closed the connection"
        case ConnectionRefusedError():
            return "the mail server refuses connections"
        case _:
            return f"the mail server cannot be used ({type(error).__name__})"
