"""Statements whose plan a connection keeps: for statements that take longer to plan than to run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from time import monotonic
from typing import Any, cast

import psycopg2
from sqlalchemy import URL, Connection, CursorResult, Engine, PoolProxiedConnection, text
from sqlalchemy.exc import DBAPIError

from dispatcher.db.error_texts import harmless_text
from dispatcher.db.outages import ends_session
from dispatcher.db.poolers import POOLED

_DISCARD = "DISCARD PLANS"
_PARAMETER = re.compile(r"(?<!:):(\w+)")  # not the `::` of a cast
PLANNED_AT = "dispatcher_planned_at"  # monotonic: when the oldest plan of a connection was made, at the latest


class Prepared:
    """A statement with named parameters (`:name`), prepared on each connection at its first use there. Where a pooler
    could run the next transaction in another server session, it is sent and planned at each use.

    The kept plan is made without knowing the values, so one plan must be good for all of them. It is made for the
    tables as they are: what was right for empty ones can take hundreds of times as long once they are full. PostgreSQL
    makes it anew when it has new statistics, and this does after `plan_seconds`, together with all others of the
    connection. On connections that are not ours, run `text` with SQLAlchemy, or `whole` with their driver.
    """

    def __init__(
        self, name: str, statement: str, types: Mapping[str, str], *, plan_seconds: float = float("inf")
    ) -> None:
        places = {parameter: f"${place}" for place, parameter in enumerate(types, 1)}
        body = _PARAMETER.sub(lambda match: places[match[1]], statement)
        self.text = text(_PARAMETER.sub(lambda match: _cast(match[1], types[match[1]]), statement))
        # For a driver that names parameters `%(name)s`, where nothing is prepared.
        self.whole = _PARAMETER.sub(lambda match: f"CAST(%({match[1]})s AS {types[match[1]]})", statement)
        self._name = name
        self._names = tuple(types)
        self._prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {body}"
        self._plan_seconds = plan_seconds
        self._execute = f"EXECUTE {name} ({', '.join('%s' for _ in types)})"

    def execute(self, connection: Connection, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Runs the statement, as `Connection.execute` does."""
        if POOLED in connection.info:
            return connection.exec_driver_sql(self.whole, dict(parameters))
        if first := self._to_run_first(connection.info):
            try:
                connection.exec_driver_sql(first)
                self._has_run(first, connection.info)
            except DBAPIError:
                raise
            except BaseException:  # a signal's: whether it is prepared now is not known
                connection.invalidate()
                raise
        return connection.exec_driver_sql(self._execute, tuple([parameters[name] for name in self._names]))

    def fetch(self, connection: PoolProxiedConnection, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Runs the statement on a connection as its pool gives it, for a third of the cost; returns the rows. Raises
        SQLAlchemy's errors, without values in their texts."""
        try:
            with closing(connection.cursor()) as cursor:
                if POOLED in connection.info:
                    cursor.execute(self.whole, parameters)
                    return cast(Sequence[Sequence[Any]], cursor.fetchall())
                if first := self._to_run_first(connection.info):
                    try:
                        cursor.execute(first)
                        self._has_run(first, connection.info)
                    except psycopg2.Error:
                        raise
                    except BaseException:  # as above
                        connection.invalidate()
                        raise
                cursor.execute(self._execute, [parameters[name] for name in self._names])
                rows: Sequence[Sequence[Any]] = cursor.fetchall()
                return rows
        except psycopg2.Error as error:
            lost = bool(connection.closed) or ends_session(error)
            if lost:
                connection.invalidate(error)  # it leaves its pool
            raise _as_usual(error, None, lost=lost) from None

    def _to_run_first(self, kept: dict[Any, Any]) -> str | None:
        if self._name not in kept:
            return self._prepare
        return _DISCARD if monotonic() >= kept[PLANNED_AT] + self._plan_seconds else None

    def _has_run(self, first: str, kept: dict[Any, Any]) -> None:
        kept[self._name] = True
        if first is _DISCARD or PLANNED_AT not in kept:
            kept[PLANNED_AT] = monotonic()


def _cast(parameter: str, type_: str) -> str:
    """A parameter for SQLAlchemy. An array is one text (db/arrays.py), also for a driver that asks for its type."""
    given = f"CAST(:{parameter} AS text)" if type_.endswith("[]") else f":{parameter}"
    return f"CAST({given} AS {type_})"


@contextmanager
def from_pool(engine: Engine) -> Iterator[PoolProxiedConnection]:
    """A connection as its pool gives it, for `Prepared.fetch`. If it is lost, so are the others. Raises SQLAlchemy's
    errors, without values in their texts."""
    try:
        connection = engine.raw_connection()
    except psycopg2.Error as error:
        raise _as_usual(error, engine.url, lost=False) from None
    try:
        yield connection
    except DBAPIError as error:
        if error.connection_invalidated:
            engine.dispose()
        raise
    finally:
        connection.close()


def _as_usual(error: psycopg2.Error, url: URL | None, *, lost: bool) -> DBAPIError:
    """The error as an engine would raise it, of a connection to `url`; `lost`: that is lost."""
    error.args = (harmless_text(error, url),)
    raised = DBAPIError.instance(None, None, error, psycopg2.Error, hide_parameters=True, connection_invalidated=lost)
    assert isinstance(raised, DBAPIError)
    return raised
