"""The servers of a run, on temporary data: PostgreSQL as in production, Valkey, receivers. Every contestant uses the
same."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import redis
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, make_url, text

from benchmarks.receivers import Instant, Receiver, instant_receiver, own_receiver
from dispatcher.db.migrate import upgrade
from dispatcher.db.models import Base
from dispatcher.embedded.data_dir import new_password
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from dispatcher.embedded.spawning.spawn import inherited
from dispatcher.installation import Installation
from dispatcher.settings import Settings

MESSAGE_BYTES = 600
ROOT = Path(__file__).parents[1]

# fsync and synchronous_commit stay on. The rest are usual values for a machine with 8 GB or more.
POSTGRES = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "min_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "effective_cache_size": "4GB",
    "random_page_cost": "1.1",
    "maintenance_work_mem": "512MB",
}
_KEPT = {"installation", "accounts", "webhooks", "subscriptions", "api_keys", "sessions"}


@dataclass(frozen=True, slots=True)
class Servers:
    """Running servers, and how programs reach them."""

    folder: Path
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    receiver: Receiver
    instant: Instant
    installation: Installation
    database: Engine  # commits each statement by itself, without time limits

    @property
    def settings(self) -> Settings:
        """The settings of the measured installation."""
        return self.installation.settings

    @property
    def url(self) -> str:
        """The URL of the database, for SQLAlchemy."""
        return self.settings.database_url.get_secret_value()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the measured programs."""
        variables = {
            "DATABASE_URL": self.url,
            "BROKER_URL": self.valkey.url,
            "DISPATCHER_ENCRYPTION_KEYS": self.settings.encryption_keys.get_secret_value(),
            "DISPATCHER_DATA_DIR": str(self.folder / "none"),
            "DISPATCHER_ALLOWED_NETWORKS": self.settings.allowed_networks,
            "PYTHONPATH": str(ROOT),  # measure this checkout
        }
        return inherited(variables)

    @property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """The roots of the process trees that all contestants use."""
        receivers = {self.receiver.pid, self.instant.pid}
        return {
            "postgres": (self.postgres.process.pid,),
            "broker": (self.valkey.process.pid,),
            "receiver": tuple(receivers),
        }

    def with_receiver(self, receiver: Receiver) -> Self:
        """The same servers with another receiver for everything."""
        return replace(self, receiver=receiver, instant=receiver)

    def empty(self, *, finished_too: bool = True) -> None:
        """Empties the broker and resets the counts; with `finished_too` also removes all events and deliveries."""
        self.flush_broker()
        self.receiver.forget()
        if finished_too:
            tables = [table.name for table in Base.metadata.sorted_tables if table.name not in _KEPT]
            self.execute(f"TRUNCATE {', '.join(f'dispatcher.{name}' for name in tables)}")

    def flush_broker(self) -> None:
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()

    def with_database(self, name: str) -> Self:
        """The same servers with another, new database."""
        self.execute(f"CREATE DATABASE {name}")
        url = make_url(self.url).set(database=name).render_as_string(hide_password=False)
        settings = self.settings.model_copy(update={"database_url": SecretStr(url)})
        return replace(self, installation=Installation(settings), database=_migrated(url))

    def execute(self, statement: str, **parameters: object) -> None:
        with self.database.connect() as connection:
            connection.execute(text(statement), parameters)

    def scalar(self, statement: str, **parameters: object) -> object:
        with self.database.connect() as connection:
            return connection.execute(text(statement), parameters).scalar()


@contextmanager
def running_servers(wal_files: int) -> Iterator[Servers]:
    """Everything on temporary data. `wal_files`: how many its PostgreSQL has to use again."""
    folder = Path(tempfile.mkdtemp(prefix="dispatcher-bench-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        with _postgres(folder) as fresh:
            _fill_wal(fresh.url, wal_files)
        postgres = stack.enter_context(_postgres(folder))
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey", password=new_password()))
        receiver = stack.enter_context(own_receiver(folder, MESSAGE_BYTES))
        instant = stack.enter_context(instant_receiver(folder, receiver))
        keys = Fernet.generate_key().decode()
        settings = Settings(
            database_url=postgres.url,
            broker_url=valkey.url,
            encryption_keys=keys,
            allowed_networks=LOOPBACK,  # for the receivers: the egress policy stays on
        )
        database = _migrated(postgres.url)
        stack.callback(database.dispose)
        installation = Installation(settings)
        yield Servers(folder, postgres, valkey, receiver, instant, installation, database)


def _postgres(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder / "postgres", password=new_password(), settings=POSTGRES)


def _fill_wal(url: str, files: int) -> None:
    """Makes the server keep WAL files to use again, as one does that has run for a while: whoever creates a new one
    holds up all commits for 10 to 20 ms."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for _ in range(files):
            connection.exec_driver_sql("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 16000000))")
    engine.dispose()


def _migrated(url: str) -> Engine:
    upgrade(url)
    return create_engine(url, isolation_level="AUTOCOMMIT")
