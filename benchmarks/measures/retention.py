"""What removing old rows costs those who deliver, and whether it keeps the tables from growing."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic

from benchmarks.bench import Bench
from benchmarks.measures.backlog import single_again
from benchmarks.servers import Servers
from benchmarks.stored import store_week
from benchmarks.targets import Sample
from dispatcher.db.partitions import PARTITIONED, create_partition, week_of
from dispatcher.db.retention.kinds import Kept, Kind
from dispatcher.db.retention.rounds import retain
from dispatcher.ids import first_id_at

_WEEK, _DAY = timedelta(weeks=1), timedelta(days=1)
_WEEKS, _KEPT_DAYS, _FOURTH = 7, 14, 3
_ROUND_SECONDS = 1.0


def single_beside(bench: Bench) -> Sample:
    """Like `single`, with the tables of its stage, while its finished deliveries and captured answers are removed all
    the time: upkeep does it for 50 s a minute at most. `removed_a_second`: rows of them."""
    with _removing(bench.servers) as removed:
        began = monotonic()
        sample = single_again(bench)
        return {**sample, "removed_a_second": removed[0] / (monotonic() - began)}


def weeks(bench: Bench) -> Sample:
    """Seven weeks, one after the other, each with all that is kept of its deliveries, and what was too old at its end
    removed: `fourth_mb` and `last_mb` of all tables."""
    servers, count = bench.servers, bench.size.week
    bench.end_worker()
    bench.clear()
    fleet = bench.fleet([servers.receiver.url()] * 100)
    kept = _kept(Kind.EVENTS, Kind.DELIVERIES, Kind.ATTEMPTS, Kind.AUDIT, Kind.NOTICES, days=_KEPT_DAYS)
    now = datetime.now(UTC) - _WEEKS * _WEEK
    sizes = []
    for _ in range(_WEEKS):
        for table in PARTITIONED:
            with servers.installation.engine.begin() as connection:
                create_partition(connection, week_of(table, first_id_at(now)))
        store_week(servers, fleet.ids, count, week_of("events", first_id_at(now)))
        now += _WEEK
        while retain(servers.installation.engine, kept, now, monotonic() + _ROUND_SECONDS)["kinds_left"]:
            pass
        for table in ("deliveries", "notices", "retention"):
            servers.execute(f"VACUUM dispatcher.{table}")
        sizes.append(_mb(servers))
    bench.clear()
    return {"fourth_mb": sizes[_FOURTH], "last_mb": sizes[-1]}


@contextmanager
def _removing(servers: Servers) -> Iterator[list[int]]:
    """Removes what was finished by now. Yields how many rows it has removed."""
    removed, ends = [0], threading.Event()
    kept, later = _kept(Kind.BODIES, Kind.DELIVERIES, days=1), datetime.now(UTC) + _DAY

    def remove() -> None:
        while not ends.is_set():
            done = retain(servers.installation.engine, kept, later, monotonic() + _ROUND_SECONDS)
            removed[0] += done["bodies_removed"] + done["deliveries_removed"]
            if not done["kinds_left"]:
                raise RuntimeError("there was not enough to remove")

    with ThreadPoolExecutor(1) as pool:
        removing = pool.submit(remove)
        try:
            yield removed
        finally:
            ends.set()
            removing.result()


def _kept(*kinds: Kind, days: int) -> Kept:
    """These kinds for so many days, the others for ever."""
    return Kept({kind: days if kind in kinds else None for kind in Kind}, frozenset(Kind))


def _mb(servers: Servers) -> float:
    size = servers.scalar(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relnamespace = 'dispatcher'::regnamespace AND relkind = 'r'"
    )
    return float(str(size)) / 1e6
