"""What figures mean: where each begins to be a warning, and a failure."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.diagnosis.findings import Finding, Level, amount, span, worst
from dispatcher.diagnosis.judging import broker, database, engine, outside, server
from dispatcher.diagnosis.judging.broker import Memory
from dispatcher.diagnosis.judging.database import Going
from dispatcher.diagnosis.judging.engine import Process, Quarantined, Work
from dispatcher.diagnosis.judging.outside import Handshake
from dispatcher.diagnosis.judging.server import Rows, Slot, Snapshot
from tests.each import each

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def process(kind: str = "deliver", **changed: object) -> Process:
    usual = Process(kind, "a", 1, "1.0", NOW, NOW, 3.0, "parked", None, 0.0)
    return usual._replace(**changed)


ALL_KINDS = [process("deliver"), process("maintenance"), process("api")]


def without(kind: str) -> list[Process]:
    return [one for one in ALL_KINDS if one.kind != kind]


def beating(**ages: float) -> list[Process]:
    return [one._replace(age=ages.get(one.kind, one.age)) for one in ALL_KINDS]


def work(**changed: float) -> list[Finding]:
    return engine.backlog(Work(0, 0, 0, 0, 0)._replace(**changed))  # type: ignore[arg-type]


def rights(*lacking: str) -> Finding:
    wanted = {"readonly": {"SELECT on a"}, "api": {"SELECT on a", "INSERT on a", "EXECUTE on f"}, "workers": set()}
    wanted["workers"] = {"SELECT on a", "SELECT on b", "INSERT on a", "DELETE on b", "EXECUTE on g"}
    return database.rights("us", set(lacking), wanted, is_owner=False)


def bloat(*tables: Rows, is_on: bool = True, oldest: int = 0) -> list[Finding]:
    return server.bloat(tables, is_on=is_on, oldest=oldest, now=NOW)


def handshake(asked: bool = True, **made: object) -> Finding:
    return outside.handshake(Handshake("host:443")._replace(**made), NOW, is_asked=asked)


CASES: list[tuple[str, Callable[[], Finding | Sequence[Finding]]]] = [
    ("ok", lambda: server.connections(80, 100)),
    ("warn", lambda: server.connections(81, 100)),
    ("fail", lambda: server.connections(96, 100)),
    ("fail", lambda: server.connections(1, 0)),
    ("ok", lambda: server.snapshot(None, 0, sees_all=True)),
    ("warn", lambda: server.snapshot(None, 1, sees_all=True)),
    ("ok", lambda: server.snapshot(Snapshot(900, 7, ""), 0, sees_all=False)),
    ("warn", lambda: server.snapshot(Snapshot(901, 7, "psql"), 0, sees_all=True)),
    ("fail", lambda: server.snapshot(Snapshot(7_201, 7, "psql"), 0, sees_all=True)),
    ("ok", lambda: server.slots([])),
    ("ok", lambda: server.slots([Slot("replica", True, 5e9, False)])),
    ("warn", lambda: server.slots([Slot("replica", True, 5.1e9, False)])),
    ("fail", lambda: server.slots([Slot("replica", False, 51e9, False)])),
    ("warn", lambda: server.slots([Slot("replica", False, 0, True)])),
    ("ok", bloat),
    ("ok", lambda: bloat(Rows("deliveries", 1_000_000, 200_000, NOW, False))),
    ("ok", lambda: bloat(Rows("deliveries", 0, 50_000, None, False))),
    ("warn", lambda: bloat(Rows("deliveries", 1_000_000, 200_001, NOW, False))),
    ("warn", lambda: bloat(Rows("deliveries", 1, 0, NOW, True))),
    ("fail", lambda: bloat(is_on=False)),
    ("warn", lambda: bloat(oldest=1_000_000_001)),
    ("fail", lambda: bloat(oldest=1_800_000_001)),
    ("ok", lambda: database.answers("18", 0.05)),
    ("warn", lambda: database.answers("18", 0.06)),
    ("ok", lambda: database.pooler(is_there=True, is_said=True)),
    ("ok", lambda: database.pooler(is_there=False, is_said=True)),
    ("fail", lambda: database.pooler(is_there=True, is_said=False)),
    ("ok", lambda: database.schema("0019", "0018", [], [])),
    ("fail", lambda: database.schema("0018", "0018", ["events.data"], [])),
    ("warn", lambda: database.schema("0018", "0018", [], ["events_idx"])),
    ("ok", rights),
    ("ok", lambda: rights("EXECUTE on f")),
    ("ok", lambda: rights("SELECT on b", "DELETE on b", "EXECUTE on g")),
    ("not_checked", lambda: rights("SELECT on b", "INSERT on a", "DELETE on b", "EXECUTE on f", "EXECUTE on g")),
    ("not_checked", lambda: rights("INSERT on a", "DELETE on b")),
    ("fail", lambda: rights("EXECUTE on f", "EXECUTE on g")),
    ("fail", lambda: rights("INSERT on a")),
    ("warn", lambda: rights("SELECT on a")),
    ("ok", lambda: database.own_clock(-5.4, 0.5)),
    ("warn", lambda: database.own_clock(-5.6, 0.5)),
    ("fail", lambda: database.own_clock(301, 0.5)),
    ("ok", lambda: database.partitions({}, {}, NOW)),
    ("ok", lambda: database.partitions({"events": NOW + timedelta(weeks=8)}, {}, NOW)),
    ("warn", lambda: database.partitions({"events": NOW + timedelta(days=13)}, {}, NOW)),
    ("fail", lambda: database.partitions({"events": NOW - HOUR}, {}, NOW)),
    ("warn", lambda: database.partitions({}, {"events": 0}, NOW)),
    ("ok", lambda: database.retention([Going("events", 30, None, 3, 500, 0)])),
    ("ok", lambda: database.retention([Going("events", 30, NOW, 0, 0, 0)])),
    ("warn", lambda: database.retention([Going("events", 30, NOW, 3, 500, 0)])),
    ("ok", lambda: engine.heartbeats(ALL_KINDS)),
    ("ok", lambda: engine.heartbeats(beating(deliver=30, maintenance=120, api=60))),
    ("warn", lambda: engine.heartbeats(beating(deliver=31))),
    ("fail", lambda: engine.heartbeats(beating(deliver=61))),
    ("warn", lambda: engine.heartbeats(beating(maintenance=121))),
    ("fail", lambda: engine.heartbeats(beating(maintenance=601))),
    ("warn", lambda: engine.heartbeats(beating(api=100_000))),
    ("fail", lambda: engine.heartbeats(without("deliver"))),
    ("fail", lambda: engine.heartbeats(without("maintenance"))),
    ("fail", lambda: engine.heartbeats(beating(deliver=-31))),  # a time in the future is no heartbeat
    ("ok", lambda: engine.versions(ALL_KINDS, "1.0")),
    ("ok", lambda: engine.versions([], "1.0")),
    ("warn", lambda: engine.versions(ALL_KINDS, "1.1")),
    ("warn", lambda: engine.versions([process(), process(version="1.1")], "1.0")),
    ("ok", lambda: engine.versions([process(), process(version="1.1", age=31)], "1.0")),
    ("ok", lambda: engine.host_faults(ALL_KINDS)),
    ("fail", lambda: engine.host_faults([process(fault="tls")])),
    ("ok", lambda: engine.host_faults([process(fault="tls", age=31)])),
    ("ok", lambda: engine.host_clocks([process(made_at=NOW + timedelta(seconds=30))])),
    ("warn", lambda: engine.host_clocks([process(made_at=NOW - timedelta(seconds=31))])),
    ("ok", lambda: engine.leases({"sweep": 30, "upkeep": 600})),
    ("warn", lambda: engine.leases({"upkeep": 0})),
    ("warn", lambda: engine.leases({"sweep": 31, "upkeep": 0})),
    ("fail", lambda: engine.leases({"sweep": 61, "upkeep": 0})),
    ("fail", lambda: engine.leases({"sweep": 0, "upkeep": 3_601})),
    ("ok", lambda: work(oldest_due=30, retry_overdue=30, expired_claims=1, oldest_notice=900)),
    ("warn", lambda: work(oldest_due=31)),
    ("fail", lambda: work(oldest_due=61)),
    ("fail", lambda: work(retry_overdue=61)),
    ("warn", lambda: work(suspects=1)),
    ("warn", lambda: work(oldest_notice=901)),
    ("ok", lambda: engine.quarantine([], None)),
    ("warn", lambda: engine.quarantine([("id", "odd")], None)),
    ("warn", lambda: engine.quarantine([], Quarantined(1, "acme"))),
    ("ok", lambda: broker.answers("Valkey 9", 0.05)),
    ("warn", lambda: broker.answers("Valkey 9", 0.06)),
    ("ok", lambda: broker.memory(Memory("noeviction", 1, 0))),
    ("ok", lambda: broker.memory(Memory("noeviction", 80, 100))),
    ("warn", lambda: broker.memory(Memory("noeviction", 81, 100))),
    ("fail", lambda: broker.memory(Memory("noeviction", 96, 100))),
    ("warn", lambda: broker.memory(Memory("allkeys-lru", 1, 0))),
    ("fail", lambda: broker.memory(Memory("allkeys-lru", 1, 100))),
    ("ok", lambda: outside.trust("a.pem", [NOW - HOUR, NOW + HOUR], NOW)),
    ("ok", lambda: outside.trust("certs/", [], NOW)),
    ("fail", lambda: outside.trust("a.pem", [NOW - HOUR, NOW], NOW)),
    ("ok", lambda: handshake(protocol="TLSv1.3", ends=NOW + timedelta(days=14))),
    ("warn", lambda: handshake(protocol="TLSv1.3", ends=NOW + timedelta(days=13))),
    ("fail", lambda: handshake(failed="no answer")),
    ("warn", lambda: handshake(asked=False, failed="no answer")),
    ("fail", lambda: handshake(asked=False, failed="expired", refused=True)),
]


@each("case", range(len(CASES)))
def test_each_figure_means_what_the_table_says(case: int) -> None:
    level, judge = CASES[case]
    found = judge()
    findings = [found] if isinstance(found, Finding) else found
    assert findings
    assert worst(findings) == level, findings


def test_whatever_is_wrong_has_something_to_do() -> None:
    for level, judge in CASES:
        found = judge()
        for one in [found] if isinstance(found, Finding) else found:
            assert bool(one.advice) or one.level not in {Level.WARN, Level.FAIL}, (level, one)


def test_a_fault_of_a_host_is_told_once_however_many_of_its_processes_have_it() -> None:
    found = engine.host_faults([process(fault="dns tls"), process(pid=2, fault="tls"), process(host="b", fault="tls")])
    assert [one.where for one in found] == ["a", "a", "b"]


def test_of_many_quarantined_webhooks_a_few_are_named() -> None:
    found = engine.quarantine([(str(number), "odd") for number in range(100)], None)
    assert len(found) == 6
    assert found[-1].says == "95 more webhooks are put aside"


def test_an_old_snapshot_is_told_with_the_command_that_ends_it() -> None:
    (one,) = server.snapshot(Snapshot(7_300, 4711, "psql"), 0, sees_all=True)
    assert (one.where, "pg_terminate_backend(4711)" in one.advice) == ("psql", True)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0004, "0 ms"), (0.9, "900 ms"), (1.25, "1.2 s"), (59, "59 s"), (150, "2 min"), (7_200, "2 h"), (1e6, "12 d")],
)
def test_times_are_said_in_one_unit(seconds: float, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize(("size", "said"), [(500, "0 kB"), (2e6, "2.0 MB"), (5.1e9, "5.1 GB"), (3e12, "3.0 TB")])
def test_sizes_are_said_in_one_unit(size: float, said: str) -> None:
    assert amount(size) == said
