"""A PostgreSQL of its own in which the roles are."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine

from dispatcher.db.migrate import upgrade
from dispatcher.db.roles import ROLES
from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from dispatcher.settings import Settings
from tests.factories import change
from tests.installations import close_installations
from tests.integration.cli.conftest import run_command
from tests.process_table import eventually


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL in which the roles are, with a user in each: `as_producer` and so on."""

    owner: str
    port: int

    def url(self, role: str) -> str:
        return f"postgresql+psycopg2://as_{role}@127.0.0.1:{self.port}/dispatcher"

    def connect(self, user: str) -> Any:
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, dbname="dispatcher", user=user)
        connection.autocommit = True
        return connection


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("roles")
    with EmbeddedPostgres(folder, password="test-password", durable=False) as postgres:
        (folder / "cluster" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
        os.kill(postgres.process.pid, signal.SIGHUP)
        upgrade(postgres.url)
        made = Server(postgres.url, postgres.port)
        assert eventually(lambda: may_log_in(made, "postgres"))
        with closing(made.connect("postgres")) as superuser, superuser.cursor() as cursor:
            for _ in range(2):  # it can be run again
                cursor.execute(run_command("roles", "--print").out)
            for role in ROLES:
                cursor.execute(f"CREATE ROLE as_{role} LOGIN IN ROLE dispatcher_{role}")
        yield made
        close_installations()


def may_log_in(server: Server, user: str) -> bool:
    try:
        server.connect(user).close()
    except psycopg2.OperationalError:
        return False
    return True


@pytest.fixture(scope="package")
def owner(server: Server) -> Iterator[Engine]:
    """The tests' own look at the tables."""
    engine = create_engine(server.owner)
    yield engine
    engine.dispose()


@pytest.fixture
def settings_of(server: Server, owner: Engine, settings: Settings) -> Callable[[str], Settings]:
    """The settings of processes that connect with a role, on empty tables that already have an encryption key."""
    change(
        owner,
        "TRUNCATE dispatcher.accounts, dispatcher.events, dispatcher.deliveries, dispatcher.requests,"
        " dispatcher.attempts, dispatcher.audit, dispatcher.idempotency_keys, dispatcher.leases,"
        " dispatcher.retention CASCADE",
    )
    change(owner, "UPDATE dispatcher.installation SET digest_key = NULL")
    return lambda role: settings.model_copy(update={"database_url": SecretStr(server.url(role))})
