"""The command line, the mail server and the HTTP API, as their own tests have them."""

from tests.integration.api.conftest import api, make_key, restarted, running, server, token
from tests.integration.cli.conftest import cli
from tests.integration.workers.notices.conftest import mail_server, mailer

__all__ = ["api", "cli", "mail_server", "mailer", "make_key", "restarted", "running", "server", "token"]
