"""Takes samples of a running rig."""

import time
from collections.abc import Iterator
from contextlib import suppress
from statistics import quantiles

import psutil

from tests.faults.ledgers import Ledger, Received, Sent
from tests.faults.rig import Rig
from tests.faults.soak.growth import Sample
from tests.faults.soak.lateness import Late, Lateness
from tests.faults.soak.quantities import Kind

NODES = ("deliver", "upkeep", "beat", "api")
# What autovacuum leaves alone by its own rule is not counted: it comes and goes.
_ROWS = """
SELECT coalesce(p.relname, c.relname) AS name,
       sum(greatest(0, s.n_dead_tup - 50 - s.n_live_tup * coalesce(
           (SELECT option_value::float FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_vacuum_scale_factor'),
           current_setting('autovacuum_vacuum_scale_factor')::float)))::float AS dead
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE s.schemaname = 'dispatcher' GROUP BY 1"""
_SIZES = """
SELECT coalesce(p.relname, c.relname) AS name, coalesce(tp.relname, t.relname) AS table,
       sum(CASE c.relkind WHEN 'r' THEN pg_table_size(c.oid) ELSE pg_relation_size(c.oid) END)::float AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
LEFT JOIN pg_index x ON x.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = x.indrelid
LEFT JOIN pg_inherits ti ON ti.inhrelid = t.oid LEFT JOIN pg_class tp ON tp.oid = ti.inhparent
WHERE n.nspname = 'dispatcher' AND c.relkind IN ('r', 'i') GROUP BY 1, 2"""
_CONNECTIONS = """
SELECT application_name AS name, count(*) AS count FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name <> 'rig' GROUP BY 1"""
_OPEN = "SELECT " + ", ".join(
    f"(SELECT count(*) FROM dispatcher.deliveries WHERE state = '{state}') AS {state}"
    for state in ("ready", "waiting", "claimed")
)


class Sampler:
    """Measures one rig. `table_of`: index -> its table. `events`: time of a sample -> events accepted until then."""

    def __init__(self, rig: Rig, *, retry_after: float) -> None:
        self.lateness = Lateness(retry_after)
        self.table_of: dict[str, str] = {}
        self.events: dict[float, int] = {}
        self._rig, self._broker = rig, rig.broker()
        self._sent, self._received = Ledger(rig.folder / "sent", Sent), Ledger(rig.folder / "received", Received)
        self._began = self._looked = time.monotonic()
        self._requests = 0

    def close(self) -> None:
        self._broker.close()

    def sample(self) -> Sample:
        """All quantities now; rates and lateness since the last time."""
        accepted = self.lateness.accepted
        received = self._received.take()
        late = self.lateness.take(self._sent.take(), received)
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        values = {
            f"{Kind.RATE}: events in": (self.lateness.accepted - accepted) / passed,
            f"{Kind.RATE}: messages out": late.messages / passed,
            f"{Kind.RATE}: requests": len(received) / passed,
            **self._of_deliveries(late, now),
            **dict(self._of_processes()),
            **dict(self._of_database()),
            **self._of_broker(),
        }
        at = round(now - self._began, 1)
        self.events[at] = self.lateness.accepted
        return Sample(at, values)

    def _of_deliveries(self, late: Late, now: float) -> dict[str, float]:
        values = {f"{Kind.LATE}: still missing": self.lateness.oldest(now)}
        for name, seconds in (("first attempt", late.first), ("retry", late.retries)):
            if len(seconds) > 1:
                cuts = quantiles(seconds, n=100, method="inclusive")
                values |= {f"{Kind.LATE}: {name}, half": cuts[49], f"{Kind.LATE}: {name}, 99 %": cuts[98]}
        return values

    def _of_processes(self) -> Iterator[tuple[str, float]]:
        in_all = 0
        for node in NODES:
            with suppress(psutil.NoSuchProcess, KeyError):  # it ended: the rig says so
                main = psutil.Process(self._rig.node(node).pid)
                children = sorted(main.children(recursive=True), key=lambda child: (child.create_time(), child.pid))
                for number, process in enumerate([main, *children]):
                    name = f"{node} {number}" if number else node
                    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                        memory = process.memory_full_info()
                        in_all += memory.pss
                        yield f"{Kind.MEMORY}: {name}", memory.rss
                        yield f"{Kind.FILES}: {name}", process.num_fds()
        yield f"{Kind.MEMORY_IN_ALL}: shared once", in_all

    def _of_database(self) -> Iterator[tuple[str, float]]:
        for row in self._rig.rows(_SIZES):
            if row.table is None:
                yield f"{Kind.TABLE}: {row.name}", row.bytes
            else:
                self.table_of[row.name] = row.table
                yield f"{Kind.INDEX}: {row.name}", row.bytes
        for row in self._rig.rows(_ROWS):
            yield f"{Kind.DEAD}: {row.name}", row.dead
        for row in self._rig.rows(_CONNECTIONS):
            yield f"{Kind.CONNECTIONS}: {row.name or 'no name'}", row.count
        for state, count in self._rig.rows(_OPEN)[0]._mapping.items():
            yield f"{Kind.OPEN}: {state}", count

    def _of_broker(self) -> dict[str, float]:
        info = self._broker.info()
        return {
            f"{Kind.BROKER_MEMORY}: used": info["used_memory"],
            f"{Kind.BROKER_KEYS}: all": self._broker.dbsize(),
            f"{Kind.CONNECTIONS}: to the broker": info["connected_clients"] - 1,
        }
