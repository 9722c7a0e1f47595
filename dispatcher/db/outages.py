"""Explains why the database cannot be used, in one sentence without host, user or password."""

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_NOT_MIGRATED = frozenset({"42P01", "42703", "3F000"})  # no such table, column, schema
_AWAY = frozenset({"08", "53", "57"})  # classes: connection, resources, operator intervention (time-outs too)


def explain_outage(error: SQLAlchemyError) -> str | None:
    """Why the database cannot be used; None where the error has another cause (a defect)."""
    if isinstance(error, PoolTimeout):
        return "the database has no free connection"
    if not isinstance(error, DBAPIError):
        return None
    # The driver's own text may repeat parts of DATABASE_URL, so it is only examined, never shown.
    code, text = getattr(error.orig, "pgcode", None), str(error.orig).lower()
    if code is None:
        return (
            _explain_connection(text) if type(error.orig).__name__ in {"OperationalError", "InterfaceError"} else None
        )
    if code in _NOT_MIGRATED:
        return "the database is not at this version's migration: run `dispatcher migrate`"
    if code == "57014":
        return "the database took too long to answer"
    return "the database is not available at the moment" if code[:2] in _AWAY else None


def _explain_connection(text: str) -> str:
    match text:
        case _ if "authentication failed" in text or "no password" in text or "pg_hba" in text:
            return "the database refuses the user or password in DATABASE_URL"
        case _ if "does not exist" in text:
            return "the database, or the user, named in DATABASE_URL does not exist there"
        case _ if "translate host name" in text:
            return "the database's host named in DATABASE_URL cannot be found"
        case _:
            return "the database (DATABASE_URL) does not answer"
