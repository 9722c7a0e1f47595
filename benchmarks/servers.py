"""The servers of a run, on temporary data: PostgreSQL as in production, Valkey, receivers; the same for everybody."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from cryptography.fernet import Fernet
from sqlalchemy import Engine, create_engine, text

from benchmarks.receivers import Instant, Receiver, instant_receiver, own_receiver
from dispatcher.db.migrate import upgrade
from dispatcher.db.models import Base
from dispatcher.embedded.data_dir import new_password
from dispatcher.embedded.postgres import EmbeddedPostgres
from dispatcher.embedded.spawn import inherited
from dispatcher.embedded.valkey import EmbeddedValkey
from dispatcher.settings import Settings, settings_in_use

MESSAGE_BYTES = 600
ROOT = Path(__file__).parents[1]

# fsync and synchronous_commit stay on. The rest is what a machine of 8 GB or more is given.
POSTGRES = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "effective_cache_size": "4GB",
    "random_page_cost": "1.1",
    "maintenance_work_mem": "512MB",
}
_KEPT = {"installation", "accounts", "webhooks", "subscriptions", "api_keys"}


@dataclass(frozen=True, slots=True)
class Servers:
    """Running servers, and how programs find them."""

    folder: Path
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    receiver: Receiver
    instant: Instant
    settings: Settings
    database: Engine  # commits each statement by itself, without time limits
    environment: dict[str, str]  # for the programs that are measured

    @property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """The roots of the process trees that everybody uses."""
        receivers = {self.receiver.pid, self.instant.pid}
        return {
            "postgres": (self.postgres.process.pid,),
            "broker": (self.valkey.process.pid,),
            "receiver": tuple(receivers),
        }

    def empty(self, *, finished_too: bool = True) -> None:
        """Empties the broker and forgets what was counted; with `finished_too` all events and deliveries go."""
        self.flush_broker()
        self.receiver.forget()
        if finished_too:
            tables = [table.name for table in Base.metadata.sorted_tables if table.name not in _KEPT]
            self.execute(f"TRUNCATE {', '.join(f'dispatcher.{name}' for name in tables)}")

    def flush_broker(self) -> None:
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()

    def execute(self, statement: str, **parameters: object) -> None:
        with self.database.connect() as connection:
            connection.execute(text(statement), parameters)

    def scalar(self, statement: str, **parameters: object) -> object:
        with self.database.connect() as connection:
            return connection.execute(text(statement), parameters).scalar()


@contextmanager
def running_servers() -> Iterator[Servers]:
    folder = Path(tempfile.mkdtemp(prefix="dispatcher-bench-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = stack.enter_context(
            EmbeddedPostgres(folder / "postgres", password=new_password(), settings=POSTGRES)
        )
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey", password=new_password()))
        receiver = stack.enter_context(own_receiver(folder, MESSAGE_BYTES))
        instant = stack.enter_context(instant_receiver(folder, receiver))
        upgrade(postgres.url)
        keys = Fernet.generate_key().decode()
        settings = Settings(database_url=postgres.url, broker_url=valkey.url, encryption_keys=keys)
        stack.enter_context(settings_in_use(settings))
        database = create_engine(postgres.url, isolation_level="AUTOCOMMIT")
        stack.callback(database.dispose)
        environment = {
            "DATABASE_URL": postgres.url,
            "BROKER_URL": valkey.url,
            "DISPATCHER_ENCRYPTION_KEYS": keys,
            "DISPATCHER_DATA_DIR": str(folder / "none"),
            "PYTHONPATH": str(ROOT),  # what is measured is this checkout
        }
        yield Servers(folder, postgres, valkey, receiver, instant, settings, database, inherited(environment))
