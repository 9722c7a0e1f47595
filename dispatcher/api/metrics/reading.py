"""Reads what is shown of the whole installation: in bounded time, and once for all who ask within a few seconds."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from math import inf
from time import monotonic
from typing import TypeAlias
from uuid import UUID

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.api.metrics import families
from dispatcher.broker.clients import broker_pool
from dispatcher.db.heartbeat import API, DELIVERS, MAINTAINS
from dispatcher.db.partitions import PARTITIONED
from dispatcher.diagnosis import statements
from dispatcher.diagnosis.oldest_due import Round
from dispatcher.diagnosis.running import reading_engine
from dispatcher.installation import Installation
from dispatcher.metrics.family import Family, Labels, Values
from dispatcher.states import State
from dispatcher.wake import QUEUES

Measured: TypeAlias = list[tuple[Family, Values]]

KEPT_SECONDS = 5.0  # for how long what was read is shown again
_SECONDS = 2  # that a statement may take
_WITHIN = 4.5  # that a page waits for what is read
_KINDS = (API, DELIVERS, MAINTAINS)
_STEPS = ("dns", "route", "tls")  # of connecting, as heartbeats name what fails
_TABLES = (*PARTITIONED, "deliveries", "idempotency_keys", "notices", "webhooks")
_NAMES = frozenset({"dispatcher", "dispatcher worker", "dispatcher-metrics", "dispatcher-readyz", "dispatcher-up"})
_OTHER = "other"


class Reading:
    """Of one API process."""

    def __init__(self, installation: Installation) -> None:
        self._clock = installation.clock
        self._engine = reading_engine(installation, "dispatcher-metrics", statement=_SECONDS)
        self._broker_url = installation.settings.broker_url.get_secret_value()
        self._threads = ThreadPoolExecutor(2, "dispatcher-metrics")
        installation.on_close.append(lambda: self._threads.shutdown(wait=False))
        self._round = Round()
        self._read: asyncio.Future[Measured] | None = None
        self._read_at = -inf

    async def now(self) -> Measured:
        """What database and broker say, or said a moment ago."""
        if self._read is None or (self._read.done() and monotonic() >= self._read_at + KEPT_SECONDS):
            self._read, self._read_at = asyncio.ensure_future(self._ask()), monotonic()
        return await asyncio.shield(self._read)

    async def _ask(self) -> Measured:
        began = monotonic()
        run = asyncio.get_running_loop().run_in_executor
        asked = run(self._threads, self._database), run(self._threads, self._broker)
        await asyncio.wait(asked, timeout=_WITHIN)
        database, broker = (one.result() if one.done() else [] for one in asked)
        offset = self._clock.offset.total_seconds()
        return [
            *database,
            *broker,
            _one(families.DATABASE_UP, bool(database)),
            _one(families.BROKER_UP, bool(broker)),
            _one(families.CLOCK_OFFSET, offset),
            _one(families.READ_SECONDS, monotonic() - began),
        ]

    def _database(self) -> Measured:
        """Nothing if it cannot be used."""
        try:
            with self._engine.connect() as connection:
                return [
                    *_work(connection),
                    _one(families.OLDEST_DUE, self._round.look(connection)),
                    *_processes(connection),
                    *_tables(connection, self._clock()),
                    *_server(connection),
                ]
        except SQLAlchemyError:
            return []

    def _broker(self) -> Measured:
        queues = sorted(set(QUEUES.values()))
        pool = broker_pool(self._broker_url, seconds=_SECONDS / 2)
        try:
            with Redis(connection_pool=pool).pipeline(transaction=False) as asked:
                for queue in queues:
                    asked.llen(queue)
                lengths: Sequence[int] = asked.execute()
        except (RedisError, OSError):
            return []
        finally:
            pool.disconnect()
        return [(families.QUEUED, {(queue,): (length,) for queue, length in zip(queues, lengths, strict=True)})]


def _work(connection: Connection) -> Measured:
    found = connection.execute(statements.WORK).one()
    states = (State.READY, State.CLAIMED, State.WAITING)
    return [
        (families.OPEN, {(str(state),): (getattr(found, f"open_{state}"),) for state in states}),
        _one(families.WAITING_OVERDUE, found.retry_overdue),
        _one(families.EXPIRED_CLAIMS, found.expired_claims),
        _one(families.SUSPECTS, found.suspects),
        _one(families.CIRCUITS_OPEN, found.circuits_open),
        (
            families.NOTICES_DUE,
            {("now",): (found.now,), ("failed",): (found.failed,), ("held_back",): (found.held_back,)},
        ),
        _one(families.OLDEST_NOTICE, found.oldest),
    ]


def _processes(connection: Connection) -> Measured:
    found = connection.execute(statements.PROCESSES).all()
    ages: dict[Labels, Sequence[float]] = {}
    for kind in _KINDS:
        ages[kind,] = (min([max(0.0, float(row.age)) for row in found if row.kind == kind], default=inf),)
    alive: dict[Labels, Sequence[float]] = {
        (row.kind, row.version): (row.alive,) for row in found if row.alive and row.kind in _KINDS
    }
    faults = " ".join(row.faults for row in found).split()
    broken: dict[Labels, Sequence[float]] = {(step,): (step in faults,) for step in _STEPS}
    overdue = connection.execute(statements.LEASES).all()
    leases: dict[Labels, Sequence[float]] = {(row.name,): (row.overdue,) for row in overdue}
    return [
        (families.PROCESSES, alive),
        (families.HEARTBEAT_AGE, ages),
        (families.HOST_FAULTS, broken),
        (families.LEASE_OVERDUE, leases),
    ]


def _tables(connection: Connection, now: datetime) -> Measured:
    found = connection.execute(statements.TABLES, {"tables": list(_TABLES)}).all()
    ahead: dict[Labels, Sequence[float]] = {}
    for row in found:
        if row.name in PARTITIONED:
            # As a number: somebody may have made a partition that ends after all times.
            until = 0.0 if row.until is None else (UUID(row.until).int >> 80) / 1000
            ahead[row.name,] = (max(0.0, until - now.timestamp()),)
    return [(families.TABLE_BYTES, {(row.name,): (row.bytes,) for row in found}), (families.PARTITIONS_AHEAD, ahead)]


def _server(connection: Connection) -> Measured:
    found = connection.execute(statements.SERVER).all()
    connections: Counter[Labels] = Counter()
    for row in found:
        connections[row.name if row.name in _NAMES else _OTHER,] += row.connections
    return [
        (families.CONNECTIONS, {labels: (number,) for labels, number in connections.items()}),
        _one(families.MOST_CONNECTIONS, found[0].most),
        _one(families.OLDEST_SNAPSHOT, max([float(row.oldest or 0) for row in found])),
    ]


def _one(family: Family, value: float) -> tuple[Family, Values]:
    return family, {(): (value,)}
