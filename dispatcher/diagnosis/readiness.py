"""What a process needs to do its work, tried: for `/readyz` and `dispatcher doctor`. Each check raises what is wrong:
ConfigurationError, or what the drivers of database and broker raise."""

from collections.abc import Callable
from uuid import uuid4

from redis.exceptions import RedisError, ResponseError
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.broker.clients import try_once
from dispatcher.db.engines import Limits, make_engine
from dispatcher.db.outages import explain_outage
from dispatcher.db.poolers import check_told
from dispatcher.db.version import check_migrated, check_postgres
from dispatcher.encryption.vault import EncryptionKeys, Place
from dispatcher.errors import ConfigurationError
from dispatcher.events.event import Event
from dispatcher.events.storing import checked, rules_of, store
from dispatcher.installation import Installation
from dispatcher.transport.choice import check_transport

SECONDS = 2  # for each step of a check
_ACCOUNT = text("INSERT INTO dispatcher.accounts (id, name) VALUES (gen_random_uuid(), :name)")
_DIGEST_KEY = text("SELECT id, digest_key FROM dispatcher.installation")
# Tables have free space in them that a full disk leaves; a temporary file has not.
_USE_DISK = text("SET LOCAL work_mem = '64kB'"), text("SELECT count(*) FROM generate_series(1, 20000)")


def check_database(installation: Installation, engine: Engine) -> None:
    """Stores an event of an account of its own, and takes both back."""
    name = f"readyz-{uuid4()}"
    with engine.connect() as connection:
        check_told(connection)
        check_postgres(connection)
        check_migrated(connection)
        connection.execute(_ACCOUNT, {"name": name})
        store(
            [checked(Event(type="readyz", data=None, account=name))],
            rules_of(installation.settings, utf8=True),
            installation.clock,
            lambda statement, given: connection.execute(statement.text, given).all(),
        )
        for statement in _USE_DISK:
            connection.execute(statement)
        connection.rollback()


def check_encryption(installation: Installation, engine: Engine) -> None:
    keys = EncryptionKeys(installation.settings.encryption_keys.get_secret_value())
    with engine.connect() as connection:
        row = connection.execute(_DIGEST_KEY).one()
    if row.digest_key is not None:
        keys.decrypt(row.digest_key, Place.of_digest_key(row.id))


def check_broker(installation: Installation, _: Engine) -> None:
    # To connect and to answer are a step each.
    too_old = try_once(installation.settings.broker_url.get_secret_value(), seconds=SECONDS / 2)
    if too_old:
        raise ConfigurationError(too_old)


def check_sending(installation: Installation, _: Engine) -> None:
    check_transport(installation.settings)


def new_engine(installation: Installation) -> Engine:
    """With a new connection each time: the process's own may be in use."""
    settings = installation.settings
    return make_engine(
        settings.database_url.get_secret_value(),
        application_name="dispatcher-readyz",
        pooler=settings.database_pooler,
        limits=Limits(SECONDS, lock=SECONDS / 2),
        connect_seconds=SECONDS,
        most_connections=0,
    )


PARTS: dict[str, Callable[[Installation, Engine], None]] = {
    "database": check_database,
    "encryption_keys": check_encryption,
    "broker": check_broker,
    "transport": check_sending,
}


def what_fails(error: Exception) -> str | None:
    """What the error of a check means, without addresses or secrets; None for a defect."""
    match error:
        case ConfigurationError():
            return str(error)
        case SQLAlchemyError():
            return explain_outage(error) or f"the database fails: {type(error).__name__}"
        case ResponseError():
            return f"the broker (BROKER_URL) takes nothing: {type(error).__name__}"
        case RedisError() | OSError():
            return f"the broker (BROKER_URL) does not answer: {type(error).__name__}"
        case _:
            return None
