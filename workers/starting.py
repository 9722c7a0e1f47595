"""What a worker makes sure of before it takes a single message: that it could work."""

from contextlib import suppress
from time import sleep

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.broker.clients import try_once
from dispatcher.db.outages import explain_outage
from dispatcher.db.poolers import check_told
from dispatcher.db.version import check_migrated, check_postgres
from dispatcher.encryption.vault import Vault
from dispatcher.errors import ConfigurationError
from dispatcher.installation import Installation
from dispatcher.metrics.progress import own
from dispatcher.transport.choice import check_transport

log = structlog.get_logger("dispatcher.worker")

AGAIN = 1.0  # seconds
_BROKER_SECONDS = 1.0


def wait_until_fit(installation: Installation) -> None:
    """Checks transport, servers, migration and encryption keys. While the database is away, as it may be when a machine
    starts, it waits, and says why. Raises ConfigurationError for what waiting does not change."""
    check_transport(installation.settings)
    _check_broker(installation.settings.broker_url.get_secret_value())
    told = None
    while (why := _missing(installation)) is not None:
        if why != told:
            log.warning("the worker waits for its database", why=why)
        told = why
        own().turned()
        sleep(AGAIN)
    if told is not None:
        log.info("the database is there: the worker starts")


def _check_broker(url: str) -> None:
    """Raises ConfigurationError for one that is too old. One that is away is waited for later, by Celery."""
    with suppress(RedisError, OSError):
        if too_old := try_once(url, seconds=_BROKER_SECONDS):
            raise ConfigurationError(too_old)


def _missing(installation: Installation) -> str | None:
    """Why the database cannot be used yet."""
    try:
        with installation.engine.begin() as connection:
            check_told(connection)
            check_postgres(connection)
            check_migrated(connection)
            Vault.checked(installation.settings.encryption_keys.get_secret_value(), connection)
    except SQLAlchemyError as error:
        why = explain_outage(error)
        if why is None:
            raise
        return why
    return None
