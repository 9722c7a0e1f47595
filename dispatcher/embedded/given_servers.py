"""Checks the servers that the environment names before anything is started, so that a dead one is reported at once."""

from redis.exceptions import AuthenticationError, RedisError, ResponseError
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.broker.address import read_broker_url
from dispatcher.broker.clients import try_once
from dispatcher.db.engines import make_engine
from dispatcher.db.outages import explain_outage
from dispatcher.db.urls import places
from dispatcher.db.version import check_postgres
from dispatcher.embedded.errors import ServerAway
from dispatcher.errors import ConfigurationError

_DATABASE_SECONDS = 2  # libpq allows no less
_BROKER_SECONDS = 1.0


def ask_database(url: str) -> None:
    """Log in. Raises ServerAway, which names the address, and ConfigurationError for a server that is too old."""
    engine = make_engine(url, application_name="dispatcher-up", connect_seconds=_DATABASE_SECONDS, most_connections=0)
    try:
        with engine.connect() as connection:
            check_postgres(connection)
    except SQLAlchemyError as error:
        why = explain_outage(error) or f"the database (DATABASE_URL) fails: {type(error).__name__}"
        raise ServerAway(why, places(url), "DATABASE_URL") from None


def ask_broker(url: str) -> None:
    """Log in and write. Raises as `ask_database`."""
    place = read_broker_url(url).place
    try:
        too_old = try_once(url, seconds=_BROKER_SECONDS)
    except AuthenticationError:
        raise ServerAway("the broker refuses the user or password in BROKER_URL", place, "BROKER_URL") from None
    except ResponseError as error:
        why = f"the broker (BROKER_URL) takes nothing: {type(error).__name__}"
        raise ServerAway(why, place, "BROKER_URL") from None
    except (RedisError, OSError) as error:
        why = f"the broker (BROKER_URL) does not answer: {_in_words(error)}"
        raise ServerAway(why, place, "BROKER_URL") from None
    if too_old:
        raise ConfigurationError(too_old)


def _in_words(error: Exception) -> str:
    # The texts of the client's own errors may contain parts of the URL; the system's, which they stand for, do not.
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    return cause.strerror or "timed out" if isinstance(cause, OSError) else type(error).__name__
