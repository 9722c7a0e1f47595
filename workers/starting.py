"""What a worker makes sure of before it takes a single message: that it could work."""

from time import sleep

import structlog
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.db.outages import explain_outage
from dispatcher.db.poolers import check_told
from dispatcher.db.version import check_migrated
from dispatcher.encryption.vault import Vault
from dispatcher.installation import Installation
from dispatcher.transport.choice import check_transport

log = structlog.get_logger("dispatcher.worker")

AGAIN = 1.0  # seconds


def wait_until_fit(installation: Installation) -> None:
    """Checks transport, migration and encryption keys. While the database is away, as it may be when a machine starts,
    it waits, and says why. Raises ConfigurationError for what waiting does not change."""
    check_transport(installation.settings)
    told = None
    while (why := _missing(installation)) is not None:
        if why != told:
            log.warning("the worker waits for its database", why=why)
        told = why
        sleep(AGAIN)
    if told is not None:
        log.info("the database is there: the worker starts")


def _missing(installation: Installation) -> str | None:
    """Why the database cannot be used yet."""
    try:
        with installation.engine.begin() as connection:
            check_told(connection)
            check_migrated(connection)
            Vault.checked(installation.settings.encryption_keys.get_secret_value(), connection)
    except SQLAlchemyError as error:
        why = explain_outage(error)
        if why is None:
            raise
        return why
    return None
