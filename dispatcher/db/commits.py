"""What became of a transaction whose COMMIT was not answered, because the connection was lost meanwhile."""

from enum import Enum, auto

from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError


class Fate(Enum):
    """As `fate` found it."""

    COMMITTED = auto()
    ABORTED = auto()
    OPEN = auto()  # the server is just committing, or has not noticed that the connection is lost: ask again soon
    UNKNOWN = auto()  # to this server


_STATUS = text("SELECT pg_xact_status(CAST(:transaction AS xid8))")
_FATES = {"committed": Fate.COMMITTED, "aborted": Fate.ABORTED, "in progress": Fate.OPEN}


def fate(engine: Engine, transaction: str) -> Fate:
    """What became of the transaction with this id, which `pg_current_xact_id()` returned in it. Raises DBAPIError if
    the database is unavailable."""
    try:
        with engine.connect() as connection:
            return _FATES.get(connection.scalar(_STATUS, {"transaction": transaction}), Fate.UNKNOWN)
    except DataError:  # an id that this server has not given to any transaction yet, for instance after a fail-over
        return Fate.UNKNOWN
