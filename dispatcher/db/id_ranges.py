"""Conditions on ids. They contain their time, so a range of ids is a range of times."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute

from dispatcher.ids import first_id_at


def between(
    identifier: InstrumentedAttribute[UUID],
    since: datetime | None,
    until: datetime | None,
    before: UUID | None = None,
) -> list[ColumnElement[bool]]:
    """Ids made since one time (included) and until another; a page continues below the last id of the previous one."""
    wanted = []
    if since is not None:
        wanted.append(identifier >= first_id_at(since))
    if until is not None:
        wanted.append(identifier < first_id_at(until))
    if before is not None:
        wanted.append(identifier < before)
    return wanted
