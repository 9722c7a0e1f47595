"""A mail server, and a mailer that sends to it with short timeouts."""

from collections.abc import Iterator

import pytest

from dispatcher.accounts.mail_links import MailLinks
from dispatcher.settings import Settings
from tests.mail_server import MailServer
from workers.notices.mailer import Mailer

LINKS = MailLinks(b"the secret of these tests")


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def mailer(settings: Settings, mail_server: MailServer) -> Mailer:
    return mailer_for(settings, mail_server.port)


def mailer_for(settings: Settings, port: int, kind: type[Mailer] = Mailer, **changes: object) -> Mailer:
    """A mailer to a port of this machine, without limits on mails unless told otherwise."""
    smtp = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none", "mail_from": "Hooks <hooks@we.test>"}
    limits = {
        "mails_per_contact_hour": 0,
        "mails_per_webhook_minute": 0,
        "account_limits": "mails_per_hour=off",
        "mails_per_hour": 0,
    }
    wanted = settings.model_copy(update={**smtp, **limits, **changes})
    return kind(wanted, LINKS, step_timeout=1.0, end_timeout=1.0)
