"""Tells a database that cannot be used from a statement that failed, and explains it in one sentence without host, user
or password."""

from typing import Any

from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

_HELD_UP = frozenset({"55P03", "57014", "40P01", "40001"})  # lock or statement timeout, deadlock, serialization
_TIMED_OUT = "57014"
_CHECK_FAILED = "23514"  # without a constraint's name: no partition takes the row
_READ_ONLY = "25006"  # after a fail-over
_NOT_ALLOWED = "42501"
_FULL = "53100"
_SHUT_DOWN = frozenset({"57P01", "57P02", "57P03"})
_NO_MEMORY = ("out of memory", "cannot allocate memory", "lost synchronization with server", "PQconnectdb() failed")
# Classes: connection, resources, operator intervention (time-outs too), the server's system.
_AWAY = frozenset({"08", "53", "57", "58"})
FOR_POOLERS = (
    "set DISPATCHER_DATABASE_POOLER=true for all processes, and give `dispatcher migrate` PostgreSQL's own address"
)
_OTHER_SESSION = ("42P05", "26000")  # what is prepared is known already, or is not known
_IS_READ_ONLY = "the database takes no writes at the moment: it is read-only"
LACKS_PARTITION = (
    "the database has no partition for this week: run `dispatcher migrate`; upkeep's log says why it makes none"
)
_EXPLAINED = {
    **dict.fromkeys(
        _OTHER_SESSION, f"DATABASE_URL leads to a pooler that runs transactions in changing sessions: {FOR_POOLERS}"
    ),
    **dict.fromkeys(  # no such table, column, schema, function
        ("42P01", "42703", "3F000", "42883"),
        "the database is not at this version's migration: run `dispatcher migrate`",
    ),
    _NOT_ALLOWED: "the user named in DATABASE_URL may not do this: `dispatcher roles` shows which role is for what",
    _TIMED_OUT: "the database took too long to answer",
    "55P03": "others have locked what is needed in the database",
    _READ_ONLY: _IS_READ_ONLY,
    _FULL: "the database has no room left on its disk",
}
# What the driver says of a connection, and what it means.
_CONNECTIONS = {
    ("authentication failed", "no password", "pg_hba"): "the database refuses the user or password in DATABASE_URL",
    ("unsupported startup parameter",): (
        f"DATABASE_URL leads to a pooler that refuses the options of sessions: {FOR_POOLERS}"
    ),
    ("does not exist",): "the database, or the user, named in DATABASE_URL does not exist there",
    ("translate host name",): "the database's host named in DATABASE_URL cannot be found",
    ("read-only", "hot standby"): _IS_READ_ONLY,
    ("too many clients", "too many connections", "connection slots"): "the database has no free connection",
}


def explain_outage(error: SQLAlchemyError) -> str | None:
    """Why the database cannot be used; None where the error has another cause (a defect)."""
    if isinstance(error, PoolTimeout):
        return "the database has no free connection"
    if not isinstance(error, DBAPIError):
        return None
    # The driver's own text may repeat parts of DATABASE_URL, so it is only examined, never shown.
    code, text = _code_of(error), str(error.orig).lower()
    if code is None:
        return (
            _explain_connection(text) if type(error.orig).__name__ in {"OperationalError", "InterfaceError"} else None
        )
    if lacks_partition(error):
        return LACKS_PARTITION
    return _EXPLAINED.get(code) or ("the database is not available at the moment" if code[:2] in _AWAY else None)


def is_held_up(error: Exception) -> bool:
    """Whether a statement was cancelled because of what others did at that moment: it can be tried again at once, and
    all else goes on."""
    return isinstance(error, DBAPIError) and _code_of(error) in _HELD_UP


def took_too_long(error: Exception) -> bool:
    """Whether a statement was cancelled for its own length, not for a lock."""
    return isinstance(error, DBAPIError) and _code_of(error) == _TIMED_OUT


def is_defect(error: Exception) -> bool:
    """Whether a statement failed for what it is, or for its values: it will fail again."""
    kinds = DataError | IntegrityError | NotSupportedError | ProgrammingError
    return isinstance(error, kinds) and not lacks_partition(error)


def lacks_partition(error: Exception) -> bool:
    """Whether a row has no place, because the partition of its week was not made."""
    if not isinstance(error, DBAPIError) or _code_of(error) != _CHECK_FAILED or error.orig is None:
        return False
    cause: Any = error.orig
    return bool(cause.diag.constraint_name is None)


def is_refused_memory(error: Exception) -> bool:
    """Whether this process was refused memory, by Python or by the driver. The driver says so in words only: a message
    that its buffer cannot take is to it a lost synchronization, and ends the connection."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, MemoryError)
    if _code_of(error) is not None:
        return False
    # Its own class is for a result that does not fit into memory.
    return type(error) is DatabaseError or any(words in str(error.orig) for words in _NO_MEMORY)


def is_outage(error: Exception) -> bool:
    """Whether no statement could be run now, whatever its values."""
    if not isinstance(error, SQLAlchemyError) or is_held_up(error):
        return False
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return explain_outage(error) is not None


def may_be_done(error: Exception) -> bool:
    """Whether what the statement did may be committed all the same: its answer was lost."""
    return isinstance(error, DBAPIError) and error.connection_invalidated and _code_of(error) != _READ_ONLY


def ends_session(error: BaseException) -> bool:
    """Whether a driver's error means that its session is of no use any more: it takes no writes, or its server shuts
    down."""
    code = getattr(error, "pgcode", None)
    return code == _READ_ONLY or code in _SHUT_DOWN


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE of an error of any driver, also as SQLAlchemy or Django raises it; None without one."""
    for one in (error, getattr(error, "orig", None), error.__cause__):
        if code := getattr(one, "sqlstate", None) or getattr(one, "pgcode", None):
            return str(code)
    return None


def _code_of(error: DBAPIError) -> str | None:
    return getattr(error.orig, "pgcode", None)


def _explain_connection(text: str) -> str:
    """With several hosts, the text has what each of them said."""
    found = (why for words, why in _CONNECTIONS.items() if any(word in text for word in words))
    return next(found, "the database (DATABASE_URL) does not answer")
