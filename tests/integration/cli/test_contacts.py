"""`dispatcher contact`: whom mails go to, confirmed and unsubscribed by an operator."""

from uuid import UUID

from sqlalchemy import Engine

from dispatcher.accounts.actor import ApiKey, Call
from dispatcher.settings import Settings
from tests.factories import rows
from tests.integration.cli.conftest import Cli
from tests.integration.workers.notices.conftest import mailer_for
from tests.integration.workers.notices.scenario import CONTACT, fail, webhook_with_contact
from tests.mail_server import MailServer
from workers.notices.send import send_due


def test_it_lists_confirms_and_unsubscribes(cli: Cli, database: Engine, settings: Settings) -> None:
    webhook = webhook_with_contact(database, settings, by=ApiKey(UUID(int=1), Call(UUID(int=3), None)))
    with MailServer() as server:
        for status in (500, 501):
            fail(database, webhook, status=status)
            send_due(database, mailer_for(settings, server.port))
    (listed,) = cli("contact", "list", "--account", "acme", "--json").document
    assert (listed["address"], listed["state"], listed["sent"], listed["held_back"]) == (CONTACT, "unconfirmed", 1, 1)
    assert f"contact {CONTACT} is confirmed" in cli("contact", "confirm", "OPS@acme.test", "--account", "acme").out
    assert cli("contact", "unsubscribe", listed["id"], "--account", "acme").status == 0
    (row,) = rows(database, "SELECT confirmed_by, unsubscribed_by FROM dispatcher.recipients")
    assert (row.confirmed_by, row.unsubscribed_by) == (None, "command line")
    wrong = cli("contact", "confirm", "nobody@acme.test", "--account", "acme")
    assert (wrong.status, "dispatcher contact list" in wrong.err) == (1, True)
