"""The database as commands and the API use it: one transaction, committed when the block ends well."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from dispatcher.db.session import engine_for
from dispatcher.settings import load_settings
from dispatcher.webhooks import Webhooks, open_vault


@contextmanager
def transaction() -> Iterator[Session]:
    """A session on the installation's database. What was loaded can still be read after the commit."""
    engine = engine_for(load_settings().database_url.get_secret_value())
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def webhooks_in(session: Session) -> Webhooks:
    """The installation's webhooks. Raises ConfigurationError where the encryption keys do not fit."""
    settings = load_settings()
    return Webhooks(session, open_vault(session.connection(), settings), settings.addresses)
