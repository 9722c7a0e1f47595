"""What a rig stands on: servers on temporary data, each behind a relay, a mail server, and receivers."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet
from sqlalchemy import Engine, create_engine

from dispatcher.db.migrate import upgrade
from dispatcher.embedded.data_dir import new_password
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.embedded.spawning.spawn import inherited
from dispatcher.settings import Settings
from tests.crashing_servers import CrashingPostgres, CrashingValkey
from tests.faults import poison
from tests.mail_server import MailServer
from tests.relay import Relay

ROOT = Path(__file__).parents[2]
_DISK_MEGABYTES = 1500
# The rig's own connections: whatever is done to those of others.
_OWN_CONNECTION = {"options": "-c default_transaction_read_only=off", "application_name": "rig"}
# A disk that is to be full should be so by tables, not by a log of a gigabyte.
_LITTLE_LOG = {"max_wal_size": "128MB", "min_wal_size": "64MB"}


@dataclass(frozen=True, slots=True)
class Relays:
    """What the processes of the rig reach the servers through."""

    postgres: Relay
    valkey: Relay
    smtp: Relay


@dataclass(frozen=True, slots=True)
class Stage:
    """`settings` and `database` lead to the servers themselves, `environment` through the relays. `disk`: the small
    file system that the database is on, if it is."""

    folder: Path
    lease: float
    postgres: CrashingPostgres
    valkey: CrashingValkey
    mails: MailServer
    relays: Relays
    settings: Settings
    environment: dict[str, str]
    database: Engine
    disk: Path | None


@contextmanager
def new_stage(*, lease: float, time_scale: float, durable: bool, small_disk: bool = False) -> Iterator[Stage]:
    """All on temporary data that is removed in the end. `durable`: servers may be killed. Raises RuntimeError if there
    must be a small disk, and cannot."""
    folder = Path(tempfile.mkdtemp(prefix="dispatcher-storm-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        disk = stack.enter_context(_small_disk(folder / "disk")) if small_disk else None
        postgres = stack.enter_context(
            CrashingPostgres(
                (disk or folder) / "postgres", password=new_password(), durable=durable, settings=_LITTLE_LOG
            )
        )
        valkey = stack.enter_context(CrashingValkey(folder / "valkey", password=new_password(), persistent=durable))
        mails = stack.enter_context(MailServer())
        relays = Relays(*(stack.enter_context(Relay(port)) for port in (postgres.port, valkey.port, mails.port)))
        keys = Fernet.generate_key().decode()
        environment = {
            "DATABASE_URL": postgres.url.replace(f":{postgres.port}/", f":{relays.postgres.port}/"),
            "BROKER_URL": valkey.url.replace(f":{valkey.port}/", f":{relays.valkey.port}/"),
            "DISPATCHER_ENCRYPTION_KEYS": keys,
            "DISPATCHER_DATA_DIR": str(folder / "none"),
            "DISPATCHER_ALLOWED_NETWORKS": LOOPBACK,
            "DISPATCHER_TIME_SCALE": str(time_scale),
            "DISPATCHER_SMTP_HOST": LOOPBACK,
            "DISPATCHER_SMTP_PORT": str(relays.smtp.port),
            "DISPATCHER_SMTP_SECURITY": "none",
            # A soak has a mail every ten seconds.
            "DISPATCHER_ACCOUNT_LIMITS": "mails_per_hour=off",
            "DISPATCHER_MAILS_PER_HOUR": "0",
            "PYTHONPATH": str(ROOT),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # for nodes that are given another clock
            poison.HARM: str(folder / "harm"),
            poison.LEASE: str(lease),
        }
        settings = Settings(
            database_url=postgres.url,
            broker_url=valkey.url,
            encryption_keys=keys,
            allowed_networks=LOOPBACK,
            time_scale=time_scale,
        )
        upgrade(postgres.url)
        database = create_engine(postgres.url, isolation_level="AUTOCOMMIT", connect_args=_OWN_CONNECTION)
        stack.callback(database.dispose)
        yield Stage(folder, lease, postgres, valkey, mails, relays, settings, inherited(environment), database, disk)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system in memory. Needs the right to mount one: `can_mount`."""
    folder.mkdir()
    size = f"size={_DISK_MEGABYTES}m,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "dispatcher-faults", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


def why_no_small_disk() -> str | None:
    """Why a small file system cannot be mounted here; None if it can."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "a small file system can be mounted by root only"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _small_disk(Path(folder) / "disk"):
                return None
        except subprocess.CalledProcessError:
            return "a small file system cannot be mounted here"
