"""Statements whose plan a connection keeps: for statements that take longer to plan than to run."""

import re
from collections.abc import Mapping
from time import monotonic
from typing import Any

from sqlalchemy import Connection, CursorResult, text


class Prepared:
    """A statement with named parameters (`:name`), prepared on each connection at its first use there.

    Only for our own, direct connections: a pooler could run the next transaction in another server session. The plan
    is made without knowing the values, so one plan must be good for all of them. It is made for the tables as they are:
    what was right for empty ones can take hundreds of times as long once they are full. PostgreSQL makes it anew when
    it has new statistics, and this does after `plan_seconds`.
    """

    def __init__(
        self, name: str, statement: str, types: Mapping[str, str], *, plan_seconds: float = float("inf")
    ) -> None:
        places = {parameter: f"${place}" for place, parameter in enumerate(types, 1)}
        body = re.sub(r"(?<!:):(\w+)", lambda match: places[match[1]], statement)  # not the `::` of a cast
        self._name = name
        self._prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {body}"
        self._plan_seconds = plan_seconds
        self._execute = text(f"EXECUTE {name} ({', '.join(f':{parameter}' for parameter in types)})")

    def execute(self, connection: Connection, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Runs the statement, as `Connection.execute` does."""
        planned_at = connection.info.get(self._name)
        if planned_at is None:
            connection.exec_driver_sql(self._prepare)
        elif monotonic() >= planned_at + self._plan_seconds:
            connection.exec_driver_sql("DISCARD PLANS")
        else:
            return connection.execute(self._execute, parameters)
        connection.info[self._name] = monotonic()
        return connection.execute(self._execute, parameters)
