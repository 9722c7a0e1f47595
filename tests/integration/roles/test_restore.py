"""A backup of an installation with roles."""

import subprocess
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from dispatcher.db.version import check_migrated
from dispatcher.embedded.servers.postgres_runtime import _bundled
from tests.conftest import Servers
from tests.integration.roles.conftest import Server


def run(program: str, url: str, *words: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    _, newest = max(_bundled().items())
    subprocess.run([newest.program(program), "--dbname", plain, *words], check=True, timeout=60, capture_output=True)


def test_it_can_be_restored_on_a_server_that_has_no_such_roles(
    server: Server, servers: Servers, tmp_path: Path
) -> None:
    dump = str(tmp_path / "dump")
    run("pg_dump", server.owner, "--format=custom", "--schema=dispatcher", f"--file={dump}")
    first = make_url(servers.database_url)
    names = ("with_privileges", "without_privileges")
    failing, working = (first.set(database=name).render_as_string(hide_password=False) for name in names)
    engine = create_engine(first, isolation_level="AUTOCOMMIT")
    restored = create_engine(working)
    with engine.connect() as connection:
        for name in names:
            connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            with pytest.raises(subprocess.CalledProcessError) as failed:
                run("pg_restore", failing, "--exit-on-error", "--no-owner", dump)
            assert b'role "dispatcher_' in failed.value.stderr
            run("pg_restore", working, "--exit-on-error", "--no-owner", "--no-privileges", dump)
            with restored.connect() as there:
                check_migrated(there)
        finally:
            restored.dispose()
            for name in names:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
