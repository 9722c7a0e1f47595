"""Statements whose plan a connection keeps: for statements that take longer to plan than to run."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult, text


class Prepared:
    """A statement with named parameters (`:name`), prepared on each connection at its first use there.

    Only for our own, direct connections: a pooler could run the next transaction in another server session. The plan
    is made without knowing the values, so one plan must be good for all of them.
    """

    def __init__(self, name: str, statement: str, types: Mapping[str, str]) -> None:
        places = {parameter: f"${place}" for place, parameter in enumerate(types, 1)}
        body = re.sub(r"(?<!:):(\w+)", lambda match: places[match[1]], statement)  # not the `::` of a cast
        self._name = name
        self._prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {body}"
        self._execute = text(f"EXECUTE {name} ({', '.join(f':{parameter}' for parameter in types)})")

    def execute(self, connection: Connection, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Runs the statement, as `Connection.execute` does."""
        if self._name not in connection.info:
            connection.exec_driver_sql(self._prepare)
            connection.info[self._name] = True
        return connection.execute(self._execute, parameters)
