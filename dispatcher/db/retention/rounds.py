"""Rounds of retention: each removes what is too old, for a bounded time."""

import logging
import random
import time
from collections.abc import Mapping
from datetime import datetime
from time import monotonic

from sqlalchemy import Connection, Engine, text

from dispatcher.db.retention.kinds import TABLES, Kept, Kind
from dispatcher.db.retention.pieces import WALKS, remove_piece
from dispatcher.db.retention.weeks import remove_weeks
from dispatcher.ids import first_id_at

log = logging.getLogger("dispatcher.db.retention")

LONGEST_PAUSE = 0.5  # seconds between two pieces

_SPARED = text("SELECT retention_from FROM dispatcher.installation LIMIT 1")
_SPARED_NOW = text("SELECT retention_from, now() FROM dispatcher.installation LIMIT 1")


def spared_until(connection: Connection) -> datetime | None:
    """Until when nothing goes that nobody has set a time for: the database was in use before there was retention."""
    found: datetime | None = connection.scalar(_SPARED)
    return found


def retain(engine: Engine, kept: Kept, now: datetime, until: float) -> dict[str, int]:
    """Removes what is older than it is to be kept: whole weeks, and pieces of each kind in turn. After `until`
    (monotonic) the rest is left to the next round; either can come first, so neither keeps the other from its turn for
    ever. Returns counts; of weeks that were left the log says why."""
    with engine.connect() as connection:
        spared = spared_until(connection)
    ends = {kind: end for kind in Kind if (end := kept.until(kind, now, spared)) is not None}
    done = {"weeks_removed": 0, "weeks_left": 0}
    for part in random.sample((_remove_weeks, _remove_pieces), 2):
        done |= part(engine, ends, until)
    return done


def _remove_weeks(engine: Engine, ends: Mapping[Kind, datetime], until: float) -> dict[str, int]:
    older_than = {table: first_id_at(ends[kind]) for kind, tables in TABLES.items() if kind in ends for table in tables}
    weeks = remove_weeks(engine, older_than, until)
    if weeks.left:
        stays = ", ".join(f"{name} ({why})" for name, why in weeks.left.items())
        log.warning("weeks that are too old could not be removed yet, which is tried again: %s", stays)
    return {"weeks_removed": weeks.removed, "weeks_left": len(weeks.left)}


def _remove_pieces(engine: Engine, ends: Mapping[Kind, datetime], until: float) -> dict[str, int]:
    """A piece of each kind in turn, with pauses as long as it takes: whoever delivers has the database for himself for
    half of the time."""
    done = {f"{kind}_removed": 0 for kind in WALKS}
    walking = [kind for kind in WALKS if kind in ends]
    while walking:
        for kind in list(walking):
            began = monotonic()
            if began >= until:
                return done | {"kinds_left": len(walking)}
            with engine.begin() as connection:
                step = remove_piece(connection, kind, ends[kind])
            done[f"{kind}_removed"] += step.removed
            if step.is_last:
                walking.remove(kind)
            elif step.removed:
                time.sleep(min(monotonic() - began, LONGEST_PAUSE))
    return done | {"kinds_left": 0}


def say_spared(engine: Engine) -> None:
    """Logs until when an older database is spared, if it is."""
    with engine.connect() as connection:
        spared, now = connection.execute(_SPARED_NOW).one()
    if spared is not None and spared > now:
        log.warning(
            "this database was in use before there was retention: what no time is set for stays"
            " until %s; see dispatcher retention --dry-run",
            f"{spared:%Y-%m-%d %H:%M} UTC",
        )
