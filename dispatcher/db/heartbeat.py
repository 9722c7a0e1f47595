"""Heartbeats: each process of the engine says now and then that it lives, and what it does.

One statement does it, which waits for no row: it writes the process's own row, counts the others that deliver, and
takes a lease if one is asked for.
"""

import os
import socket
from datetime import timedelta
from math import inf
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Engine, text

from dispatcher.db.binding import BINDING, Binding
from dispatcher.db.clock import DatabaseClock
from dispatcher.db.leases import TAKEN, set_end
from dispatcher.db.prepared import Prepared
from dispatcher.db.version import newest_migration
from dispatcher.ids import new_id
from dispatcher.version import __version__

API, DELIVERS, MAINTAINS = "api", "deliver", "maintenance"  # kinds of processes
SUSPECTS = "suspects"  # what a process does that delivers, too, whatever its kind
BEAT_EVERY = 5.0  # seconds between two heartbeats of a process that only does them
LIVES = timedelta(seconds=30)  # a process that was seen within this time lives
FEW = 3  # accounts and webhooks are counted up to this number

# A time in the future is no heartbeat; another process's may be a moment ahead, because its statement began later.
_BEAT = Prepared(
    "heartbeat",
    f"""
WITH mine AS (
  SELECT id FROM dispatcher.processes WHERE id = CAST(:me AS uuid) FOR UPDATE SKIP LOCKED),
seen AS (
  UPDATE dispatcher.processes
  SET kind = :kind, doing = :doing, seen_at = now(), fault = :fault, fault_since = now() - :fault_age
  WHERE id = ANY(ARRAY(SELECT id FROM mine))),
begun AS (
  INSERT INTO dispatcher.processes
    (id, kind, host, pid, version, schema_from, schema_to, started_at, seen_at, doing, fault, fault_since)
  SELECT CAST(:me AS uuid), :kind, :host, :pid, :version, :schema, :schema, now() - :age, now(), :doing, :fault,
    now() - :fault_age
  WHERE NOT EXISTS (SELECT 1 FROM dispatcher.processes WHERE id = CAST(:me AS uuid))
  ON CONFLICT DO NOTHING),
{TAKEN}
SELECT
  (SELECT count(*) FROM dispatcher.processes
   WHERE id <> CAST(:me AS uuid) AND (kind = '{DELIVERS}' OR doing = '{SUSPECTS}')
     AND seen_at BETWEEN now() - :lives AND now() + :lives) AS others,
  EXISTS (SELECT 1 FROM taken) AS taken,
  (SELECT extract(epoch FROM least(greatest(until, now()), now() + CAST(:span AS interval)) - now())
   FROM dispatcher.leases WHERE name = CAST(:lease AS text)) AS ends_in,
  (SELECT string_agg(fault, ' ') FROM dispatcher.processes
   WHERE id <> CAST(:me AS uuid) AND host = :host AND fault IS NOT NULL
     AND seen_at BETWEEN now() - :lives AND now() + :lives) AS faults,
  (SELECT count(*) FROM (SELECT FROM dispatcher.accounts WHERE deleted_at IS NULL LIMIT {FEW}) a) AS accounts,
  (SELECT count(*) FROM (SELECT FROM dispatcher.webhooks LIMIT {FEW}) w) AS webhooks,
  (SELECT {BINDING} FROM dispatcher.installation) AS binding,
  CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS said
""",  # noqa: S608 - composed of constants
    {
        "me": "uuid",
        "kind": "text",
        "doing": "text",
        "fault": "text",
        "fault_age": "interval",
        "host": "text",
        "pid": "integer",
        "version": "text",
        "schema": "text",
        "age": "interval",
        "lives": "interval",
        "lease": "text",
        "late": "interval",
        "span": "interval",
        "again": "boolean",
    },
)
_LEAVE = text("""
DELETE FROM dispatcher.processes WHERE id = ANY(ARRAY(
  SELECT id FROM dispatcher.processes WHERE id = :me FOR UPDATE SKIP LOCKED))
""")


class Asked(NamedTuple):
    """A lease that a process would like to have for a span; only if it ended `late` ago, or with a negative one, also
    if it will end as soon."""

    lease: str | None
    span: timedelta = timedelta(0)
    late: timedelta = timedelta(0)


NO_LEASE = Asked(None)


class Fault(NamedTuple):
    """What a process has found wrong with its host: the steps of connecting that fail, as words, and for how long."""

    steps: str | None = None
    age: timedelta | None = None


NO_FAULT = Fault()


class Beaten(NamedTuple):
    """What a process learns with its heartbeat: how many others deliver, whether it has now the lease that it asked
    for, and in how many seconds that ends if somebody else has it. `faults`: what others have found wrong with this
    host. `accounts`, `webhooks`: how many there are, up to FEW. `binding`: how far its secrets are bound."""

    others: int
    has_lease: bool
    ends_in: float
    faults: frozenset[str]
    accounts: int
    webhooks: int
    binding: Binding


class Heartbeat:
    """Of one process, which makes it when it begins; `beaten_at` is when it last succeeded, monotonic. It connects to
    nothing by itself."""

    def __init__(self) -> None:
        self.id: UUID = new_id()
        self._began = monotonic()
        self._host, self._schema = socket.gethostname(), newest_migration()
        self.beaten_at = -inf
        self._may_hold: str | None = None  # a lease that it asked for without an answer, or whose end it has not set

    def beat(
        self,
        engine: Engine,
        kind: str,
        doing: str,
        asked: Asked = NO_LEASE,
        *,
        clock: DatabaseClock | None = None,
        fault: Fault = NO_FAULT,
    ) -> Beaten:
        """The clock learns what time it is. Raises DBAPIError if the database is unavailable."""
        given = {
            "me": self.id,
            "kind": kind,
            "doing": doing,
            "host": self._host,
            "pid": os.getpid(),
            "version": __version__,
            "schema": self._schema,
            "age": timedelta(seconds=monotonic() - self._began),
            "lives": LIVES,
            "fault": fault.steps,
            "fault_age": fault.age,
            **asked._asdict(),
            "again": asked.lease is not None and asked.lease == self._may_hold,
        }
        if asked.lease is not None:
            self._may_hold = asked.lease
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            sent = clock.own() if clock is not None else 0
            found = _BEAT.execute(connection, given).one()
        if clock is not None:
            clock.learn(found.said, sent)
        self.beaten_at = monotonic()
        if asked.lease is not None and not found.taken:
            self._may_hold = None
        faults = frozenset((found.faults or "").split())
        return Beaten(
            found.others,
            found.taken,
            float(found.ends_in or 0),
            faults,
            found.accounts,
            found.webhooks,
            Binding(found.binding),
        )

    def set_end(self, engine: Engine, lease: str, left: timedelta) -> None:
        """Sets in what time a lease ends that this process has. Raises DBAPIError if the database is unavailable; the
        next heartbeat that asks for the lease gets it then, if nobody else has it."""
        set_end(engine, lease, self.id, left)
        if lease == self._may_hold:
            self._may_hold = None

    def leave(self, engine: Engine) -> None:
        """The process ends: its row goes, if it has one. Raises DBAPIError if the database is unavailable."""
        if self.beaten_at > -inf:
            with engine.begin() as connection:
                connection.execute(_LEAVE, {"me": self.id})
