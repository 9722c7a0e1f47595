"""One run of the benchmark: its servers, the sizes of everything, and what measures share."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Self

from benchmarks.certificate import self_signed
from benchmarks.engine import Node, deliver_node, wait_until_ready
from benchmarks.receivers import Receiver, Tls, own_receiver
from benchmarks.servers import MESSAGE_BYTES, Servers
from benchmarks.workload import Fleet, make_fleet


@dataclass(frozen=True, slots=True)
class Size:
    """The sizes of everything. `seconds` is the length of measures that last a set time."""

    naive: int = 2_500
    bullmq: int = 25_000
    ceiling: int = 60_000
    single: int = 50_000
    slow: int = 30_000
    nodes: int = 30_000
    tls: int = 50_000
    fresh: int = 50_000
    requests: int = 15_000
    batches: int = 200_000
    dead_tenth: int = 50_000
    dead_thousand: int = 100_000
    slow_backlog: int = 200_000
    slow_alone: int = 50_000
    waiting: int = 1_000_000
    finished: int = 10_000_000
    week: int = 1_400_000
    claims: int = 60_000
    calls: int = 1_000
    bulk_events: int = 20_000
    single_events: int = 200
    looked_at: int = 100_000
    behind_circuit_breaker: int = 100_000
    other_events: int = 20
    many_webhooks: int = 20_001
    many_backlog: int = 120_000
    hanging_webhooks: int = 3_000
    disabled_webhooks: int = 10_000
    fan_out: int = 10_000
    giants: int = 3_000
    wal_files: int = 64  # of 16 MB, that PostgreSQL uses again
    seconds: float = 10

    def times(self, factor: float) -> Self:
        """These sizes, multiplied by `factor`, for trials."""
        counts = {part.name: getattr(self, part.name) for part in fields(self)}
        return replace(self, **{name: type(value)(max(value * factor, 1)) for name, value in counts.items()})


FULL = Size()
QUICK = Size(
    naive=250,
    bullmq=4_000,
    ceiling=15_000,
    single=10_000,
    slow=8_000,
    nodes=8_000,
    tls=10_000,
    fresh=8_000,
    requests=3_000,
    batches=20_000,
    dead_tenth=8_000,
    dead_thousand=0,
    slow_backlog=10_000,
    slow_alone=0,
    waiting=100_000,
    finished=300_000,
    week=20_000,
    claims=12_000,
    calls=200,
    bulk_events=5_000,
    single_events=30,
    looked_at=40_000,
    behind_circuit_breaker=10_000,
    other_events=10,
    many_backlog=60_000,
    giants=1_200,
    seconds=1.5,
)


class Stage(StrEnum):
    """What is in the tables while a measure runs. Each stage has its own database on the same server, filled once, so
    that measures of all stages can take turns."""

    EMPTY = "empty"
    WAITING = "retries waiting"
    FINISHED = "finished deliveries"


class Bench:
    """The context that measures get."""

    def __init__(self, servers: Servers, size: Size, *, quick: bool) -> None:
        self.servers, self.size, self.quick = servers, size, quick
        self.stage = Stage.EMPTY
        self.facts: dict[str, str] = {}  # which features of the product are on, as seen in a run
        self._stages = {Stage.EMPTY: servers}
        self._worker: Node | None = None
        self._worker_env: Mapping[str, str] | None = None
        self._worker_life = ExitStack()
        self._fleets: dict[tuple[object, ...], Fleet] = {}
        self._receivers: dict[str, Receiver] = {}
        self._receivers_life = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_worker()
        self._receivers_life.close()
        for servers in self._stages.values():
            servers.database.dispose()
            servers.installation.close()

    def enter(self, stage: Stage) -> None:
        """Makes later measures run in this stage."""
        if stage is not self.stage:
            self.end_worker()
        if stage not in self._stages:
            self._stages[stage] = self._stages[Stage.EMPTY].with_database(stage.name.lower())
        self.stage, self.servers = stage, self._stages[stage]

    def worker(self, env: Mapping[str, str] | None = None) -> Node:
        """The deliver node, ready and idle: the running one if it has this environment, otherwise a new one. Clear
        before, because a new one starts with what is due."""
        if self._worker is None or self._worker_env != env:
            self.end_worker()
            self._worker, self._worker_env = self._worker_life.enter_context(deliver_node(self.servers, env)), env
            wait_until_ready(self._worker)
        return self._worker

    def end_worker(self) -> None:
        """Ends the deliver node, for measures that leave work behind or start their own nodes."""
        self._worker_life.close()
        self._worker = None

    def fleet(self, urls: list[str], **contract: object) -> Fleet:
        """Webhooks with these URLs; the same webhooks for the same arguments."""
        key = (self.stage, *urls, *sorted(contract.items()))
        if key not in self._fleets:
            self._fleets[key] = make_fleet(self.servers, urls, **contract)
        return self._fleets[key]

    def many_receivers(self, protocol: str, count: int) -> Receiver:
        """Receivers on so many ports, in one process: the running one, or a new one. `protocol`: `plain`, or what they
        speak behind TLS."""
        if protocol not in self._receivers:
            tls = None if protocol == "plain" else Tls(self.certificate, protocol)
            name = f"receivers-{protocol.replace('/', '-')}"
            folder = self.servers.folder
            running = own_receiver(folder, MESSAGE_BYTES, name=name, listeners=count, tls=tls)
            self._receivers[protocol] = self._receivers_life.enter_context(running)
        return self._receivers[protocol]

    @cached_property
    def certificate(self) -> Path:
        """The certificate of all receivers behind TLS, with its key; whoever trusts this file trusts them."""
        return self_signed(self.servers.folder / "receiver.pem")

    def clear(self) -> None:
        """Removes what earlier runs left, before each run; what the stage holds stays."""
        self.servers.empty(finished_too=self.stage is Stage.EMPTY)
