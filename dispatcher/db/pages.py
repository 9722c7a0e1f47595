"""Pages of lists, newest first: each is read along one index, and no further than a bound, whatever the planner
believes of the tables and however seldom a filter matches."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, case, func, select, true, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from dispatcher.ids import first_id_at

LOOKED_AT = 10_000  # rows, for one page of a filter without an index

FIRST, BEYOND = UUID(int=0), UUID(int=(1 << 128) - 1)


class Along(NamedTuple):
    """The rows of an index, in its order: what to ask for, and how to order it."""

    wanted: Sequence[ColumnElement[bool]]
    order: Sequence[ColumnElement[Any]]


def last_before(end: UUID) -> UUID:
    """The largest id below one. Rows are compared with `<=`: of `<` the planner believes that it leaves out all rows
    with the same first column."""
    return UUID(int=max(end.int - 1, 0))


def along(
    columns: Mapping[Any, object],
    identifier: InstrumentedAttribute[UUID],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    before: UUID | None = None,
    after: UUID | None = None,
    oldest_first: bool = False,
) -> Along:
    """The rows with these values in an index of these columns and the id, from the newest on: of ids made since one
    time (included) and until another, `before` or `after` one. They are compared as rows: otherwise the planner might
    walk along the ids alone, through everybody's rows, in search of few."""
    # Plainly as well: by this partitions are left out.
    plain = [identifier > after] if after is not None else []
    if since is not None:
        plain.append(identifier >= first_id_at(since))
    end = min(BEYOND if until is None else first_id_at(until), before or BEYOND)
    if end != BEYOND:
        plain.append(identifier < end)
    start = max(FIRST if since is None else first_id_at(since), after or FIRST)
    keys, values = (*columns, identifier), tuple(columns.values())
    wanted = [tuple_(*keys) >= (*values, start), tuple_(*keys) <= (*values, last_before(end)), *plain]
    return Along(wanted, [key.asc() if oldest_first else key.desc() for key in keys])


def page_of(
    session: Session,
    query: Select[Any],
    fits: Callable[[Any], Sequence[ColumnElement[bool]]],
    limit: int,
    looked_at: int = LOOKED_AT,
) -> tuple[Sequence[Row[Any]], UUID | None]:
    """A page of those of the query's next rows that fit, and before which id the next one begins (None: there is none).
    The query is ordered, the newest first, and has a column `id`. It is one statement, so one snapshot: the last row
    looked at must belong to the same rows."""
    if not fits(query.subquery().c):
        rows = session.execute(query.limit(limit + 1)).all()
        return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
    looked = query.limit(looked_at).subquery()
    page = select(looked).where(*fits(looked.c)).order_by(looked.c.id.desc()).limit(limit + 1).cte("page")
    is_short = select(func.count()).select_from(page).scalar_subquery() <= limit
    last = query.with_only_columns(query.selected_columns.id).offset(looked_at - 1).limit(1).scalar_subquery()
    one = select(case((is_short, last)).label("last")).subquery()
    found = session.execute(select(one, page).select_from(one.outerjoin(page, true())).order_by(page.c.id.desc())).all()
    rows = [row for row in found if row.id is not None]
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else found[0].last
