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
    """The rows of an index, in its order: what to ask for, by which columns to order it, and how."""

    wanted: Sequence[ColumnElement[bool]]
    keys: Sequence[ColumnElement[Any]]
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
    return Along(wanted, keys, [key.asc() if oldest_first else key.desc() for key in keys])


def page_of(
    session: Session,
    query: Select[Any],
    keys: Sequence[ColumnElement[Any]],
    fits: Callable[[Any], Sequence[ColumnElement[bool]]],
    *,
    limit: int,
    looked_at: int = LOOKED_AT,
) -> tuple[Sequence[Row[Any]], UUID | None]:
    """A page of those of the query's next rows that fit, and before which id the next one begins (None: there is none).
    The query is without an order; `keys` give it, and one of its columns is `id`. It is one statement, so one snapshot:
    the last row looked at must belong to the same rows."""
    ordered = query.order_by(*(key.desc() for key in keys))
    shown = len(query.selected_columns)
    looked = ordered.add_columns(*(key.label(f"key_{at}") for at, key in enumerate(keys))).limit(looked_at).subquery()
    if not (fitting := fits(looked.c)):
        rows = session.execute(ordered.limit(limit + 1)).all()
        return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
    # In the order of what was looked at, so that no more of that is read than fills the page.
    columns = list(looked.c)
    page = select(*columns[:shown]).where(*fitting).order_by(*(key.desc() for key in columns[shown:])).limit(limit + 1)
    found = page.cte("page")
    is_short = select(func.count()).select_from(found).scalar_subquery() <= limit
    last = ordered.with_only_columns(query.selected_columns.id).offset(looked_at - 1).limit(1).scalar_subquery()
    one = select(case((is_short, last)).label("last")).subquery()
    whole = select(one, found).select_from(one.outerjoin(found, true())).order_by(found.c.id.desc())
    all_rows = session.execute(whole).all()
    rows = [row for row in all_rows if row.id is not None]
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else all_rows[0].last
