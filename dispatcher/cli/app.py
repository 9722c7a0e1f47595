"""All commands together, and what they do about errors: one line on stderr, exit status 1, no traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from sqlalchemy.exc import SQLAlchemyError
from typer.core import TyperGroup
from typer.exceptions import TyperException

from dispatcher.cli import (
    accounts,
    audit,
    deliveries,
    engine,
    enqueue,
    events,
    keys,
    listen,
    notices,
    redeliveries,
    servers,
    trigger,
    webhook_health,
    webhooks,
)
from dispatcher.cli import admin as installation
from dispatcher.cli.installed import Installed
from dispatcher.cli.output import print_error, print_line
from dispatcher.db.outages import explain_outage
from dispatcher.errors import AddressRefused, DispatcherError
from dispatcher.installation import Installation
from dispatcher.masking.terminal import safe_text
from dispatcher.settings import read_settings


class _OneLineErrors(TyperGroup):
    """Turns what the product raises on purpose into one line. Defects keep their traceback."""

    def make_context(self, *given: Any, **options: Any) -> Any:
        with _harmless_words():
            return super().make_context(*given, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _harmless_words():
                return super().invoke(ctx)
        except DispatcherError as error:
            print_error(str(error))
            if isinstance(error, AddressRefused):
                print_line(engine.how_to_allow(), stderr=True)
        except UnicodeEncodeError:
            print_error("an argument holds bytes that are no UTF-8")
        except SQLAlchemyError as error:
            explained = explain_outage(error)
            if explained is None:
                raise
            print_error(explained)
        raise typer.Exit(1)


@contextmanager
def _harmless_words() -> Iterator[None]:
    """Of an argument that does not fit, typer's own words show control characters escaped, but not all that there is:
    what turns the direction round, or hides, would be left."""
    try:
        yield
    except TyperException as error:
        if isinstance(message := getattr(error, "message", None), str):
            error.message = safe_text(message, lines=True)
        raise


app = typer.Typer(
    cls=_OneLineErrors,
    help="Self-hosted webhook delivery: accounts, webhooks, events and what became of them.",
    epilog="Settings come from environment variables: see `dispatcher settings`.",
    no_args_is_help=True,
    # A traceback that shows local variables would show secrets.
    pretty_exceptions_enable=False,
)


@app.callback()
def _begin(context: typer.Context) -> None:
    context.obj = installed = Installed(lambda: Installation(read_settings()))
    context.call_on_close(installed.close)


app.add_typer(accounts.app, name="account")
app.add_typer(keys.app, name="key")
app.add_typer(webhooks.app, name="webhook")
webhook_health.register(webhooks.app)
app.add_typer(deliveries.app, name="delivery")
redeliveries.register(deliveries.app)
app.add_typer(redeliveries.app, name="redelivery")
app.add_typer(events.app, name="event")
app.add_typer(notices.app, name="notice")
enqueue.register(app)
listen.register(app)
trigger.register(app)
audit.register(app)
installation.register(app)
servers.register(app)
engine.register(app)
