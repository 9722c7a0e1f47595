"""A real PgBouncer before the suite's PostgreSQL, where one is on PATH."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psycopg2
from sqlalchemy import URL, make_url

from dispatcher.embedded.spawning.server_user import UNPRIVILEGED
from tests.dead_ports import refusing_port

MISSING = None if shutil.which("pgbouncer") else "no pgbouncer on PATH: nothing is tried behind a real one"


class Pooler(NamedTuple):
    """One that runs; `url` leads to the database through it."""

    url: str
    mode: Literal["session", "transaction"]

    def totals(self) -> tuple[int, int]:
        """Transactions, and messages with statements, that it has passed on to the database."""
        (found,) = [row for row in self.ask("SHOW STATS_TOTALS") if row["database"] == make_url(self.url).database]
        return found["xact_count"], found["query_count"]

    def ask(self, question: str) -> list[dict[str, Any]]:
        """Its own console: `SHOW POOLS` and the like."""
        console = make_url(self.url).set(drivername="postgresql", database="pgbouncer")
        connection = psycopg2.connect(console.render_as_string(hide_password=False))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(question)
                names = [column.name for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            connection.close()


@contextmanager
def pooling(
    database_url: str, mode: Literal["session", "transaction"], *, sessions: int, **more: str
) -> Iterator[Pooler]:
    """One in this mode, with so many server sessions."""
    server, port = make_url(database_url), refusing_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        users, written = Path(folder, "users"), Path(folder, "pgbouncer.ini")
        users.write_text(f'"{server.username}" "{server.password}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": users,
            "admin_users": server.username,
            "pool_mode": mode,
            "default_pool_size": sessions,
            "max_client_conn": 200,
            **more,
        }
        lines = [
            "[databases]",
            f"{server.database} = host={server.host} port={server.port} dbname={server.database}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        written.write_text("".join(f"{line}\n" for line in lines))
        as_whom = []
        if os.geteuid() == 0:  # it refuses to be root
            Path(folder).chmod(0o755)
            as_whom = ["-u", UNPRIVILEGED]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(["pgbouncer", *as_whom, written], stdout=log, stderr=log)
        try:
            pooler = Pooler(_through(server, port), mode)
            until = time.monotonic() + 10
            while not _answers(pooler):
                assert process.poll() is None, Path(folder, "log").read_text()
                assert time.monotonic() < until, Path(folder, "log").read_text()
                time.sleep(0.02)
            yield pooler
        finally:
            process.kill()  # at SIGTERM it would wait for its clients
            process.wait()


def _through(server: URL, port: int) -> str:
    return server.set(port=port).render_as_string(hide_password=False)


def _answers(pooler: Pooler) -> bool:
    try:
        return bool(pooler.ask("SHOW VERSION"))
    except psycopg2.OperationalError:
        return False
