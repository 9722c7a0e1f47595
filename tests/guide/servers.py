"""The two servers of the guide, with the PostgreSQL and Valkey that they share."""

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from dispatcher.embedded.servers.postgres_runtime import _bundled
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from tests.allowed import LOOPBACK_VARIABLES
from tests.guide.server import Server
from tests.process_table import eventually

ACCESS = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True, slots=True)
class Servers:
    """By their names in the guide, `one` and `two`."""

    one: Server
    two: Server
    port: int
    broker_url: str

    def rows(self, statement: str, database: str = "dispatcher") -> list[tuple[Any, ...]]:
        """What the superuser finds, or nothing after a change."""
        address = f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"
        with closing(psycopg2.connect(address)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []


@contextmanager
def two_servers(folder: Path, receiver: str) -> Iterator[Servers]:
    """Bare ones, and an empty PostgreSQL that only its superuser can use."""
    password = secrets.token_hex(8)
    with (
        EmbeddedPostgres(folder / "postgres", password=password, durable=False) as postgres,
        EmbeddedValkey(folder / "valkey", password=password, persistent=False) as valkey,
        ExitStack() as started,
    ):
        (folder / "postgres/cluster/pg_hba.conf").write_text(ACCESS)
        os.kill(postgres.process.pid, signal.SIGHUP)
        _, newest = max(_bundled().items())
        superuser = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
            "PGUSER": "postgres",
            "PATH": f"{newest.programs}:/usr/bin:/bin",
        }
        allowed = "\n".join(f"{name}={value}" for name, value in LOOPBACK_VARIABLES.items())
        values = {
            "database=server-one:5432": f"database=127.0.0.1:{postgres.port}",
            "broker=server-one:6379": f"broker=127.0.0.1:{valkey.port}",
            "broker_password=YOUR-PASSWORD": f"broker_password={password}",
            "receiver=https://hooks.example.com/callbacks": f"receiver={receiver}",
            "DISPATCHER_ALLOWED_NETWORKS=10.0.0.0/24": allowed,
        }
        one, two = (
            started.enter_context(Server(f"server-{name}", folder / name, folder / "one", values, superuser))
            for name in ("one", "two")
        )
        servers = Servers(one, two, postgres.port, valkey.url)
        assert eventually(lambda: _may_log_in(servers))
        for what in ("DATABASE", "ROLE"):
            servers.rows(f"DROP {what} dispatcher", "postgres")
        yield servers


def _may_log_in(servers: Servers) -> bool:
    try:
        return bool(servers.rows("SELECT 1", "postgres"))
    except psycopg2.OperationalError:
        return False
