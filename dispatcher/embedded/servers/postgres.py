"""PostgreSQL from its wheel: one database cluster in one folder, on 127.0.0.1 only, with a password."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from signal import Signals

from dispatcher.embedded.errors import StartFailed
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.embedded.servers.postgres_runtime import PostgresRuntime, find_runtime
from dispatcher.embedded.servers.server import EmbeddedServer
from dispatcher.embedded.spawning.server_user import ServerUser
from dispatcher.embedded.spawning.spawn import spawn

ROLE = "dispatcher"
DATABASE = "dispatcher"

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}  # nothing of ours: it may contain secrets
# The only way in: our own role, with a password, over the loopback device. The superuser cannot log in at all.
_ACCESS_RULES = f"host all {ROLE} {LOOPBACK}/32 scram-sha-256\n"
# For tests and demos, several times faster: committed data survives a crash of the server, but not of the machine.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server of our own, its data kept in `directory` between runs.

    `durable=False` trades safety against power failure for speed. `settings` are PostgreSQL's own, on top of ours. The
    password may differ from run to run.
    """

    name = "PostgreSQL"
    stop_signal = Signals.SIGINT  # SIGTERM would wait for clients to leave

    def __init__(
        self,
        directory: Path,
        *,
        password: str,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        output: int | None = None,
    ) -> None:
        super().__init__(directory, password=password, output=output)
        self._cluster = self.directory / "cluster"
        self._durable = durable
        self._chosen = dict(settings or {})
        self._runtime: PostgresRuntime | None = None
        self._user: ServerUser | None = None

    @property
    def url(self) -> str:
        """For SQLAlchemy, password included."""
        return f"postgresql+psycopg2://{ROLE}:{self._quoted_password()}@{LOOPBACK}:{self.port}/{DATABASE}"

    def _prepare(self) -> None:
        self._user = ServerUser.for_data(self._cluster)
        self._runtime = find_runtime(self._cluster, self._user)
        if not self._cluster.exists():
            self._create_cluster()
        # We hold the lock that every server of ours shares, so a pid file can only be left from a crash. Its number may
        # belong to another process by now, and would keep the server from starting.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        (self._cluster / "pg_hba.conf").write_text(_ACCESS_RULES)
        self._set_password()

    def _create_cluster(self) -> None:
        partial = self.directory / "cluster.partial"  # renamed when complete, so a killed start leaves no half cluster
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        if self._user:
            self._user.own(partial)
        options = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        if not self._durable:
            options.append("--no-sync")
        status, output = self._run(["initdb", *options], partial)
        if status != 0:
            raise StartFailed(self.name, f"its database could not be created in {self.directory}:\n{output.strip()}")
        partial.rename(self._cluster)
        (self.directory / "password.sha256").unlink(missing_ok=True)

    def _set_password(self) -> None:
        """Create role and database, or set the role's new password, in single-user mode, without any network."""
        digest = hashlib.sha256(self.password.encode()).hexdigest()  # of a random password: no need for a slow hash
        note = self.directory / "password.sha256"
        if note.exists() and note.read_text() == digest:
            return
        literal = "E'" + "".join(rf"\U{ord(character):08x}" for character in self.password) + "'"
        statements = (
            f"DO $$ BEGIN CREATE ROLE {ROLE} LOGIN CREATEDB; EXCEPTION WHEN duplicate_object THEN NULL; END $$;\n"
            f"ALTER ROLE {ROLE} PASSWORD {literal};\n"
            f"CREATE DATABASE {DATABASE} OWNER {ROLE};\n"
        )
        status, output = self._run(["postgres", "--single", *self._settings({})], self._cluster, statements)
        wrong = [
            line
            for line in output.splitlines()
            if ("ERROR:" in line or "FATAL:" in line or "PANIC:" in line) and "already exists" not in line
        ]
        if status != 0 or wrong:
            raise StartFailed(self.name, f"its password could not be set in {self.directory}: {' '.join(wrong)}")
        note.touch(mode=0o600)
        note.write_text(digest)

    def _run(self, command: list[str], cluster: Path, text: str = "") -> tuple[int, str]:
        program, *options = command
        where = ["-D", _data_path(cluster, self._user)]
        first, rest = (options[:1], options[1:]) if options[:1] == ["--single"] else ([], options)
        process = spawn(
            [self._program(program), *first, *where, *rest, *(["postgres"] if first else [])],
            death_signal=Signals.SIGKILL,
            cwd=cluster,
            env=_ENVIRONMENT,
            user=self._user,
            stdin=subprocess.PIPE,
            output=subprocess.PIPE,
            pass_fds=[self._lock],
        )
        try:
            output, _ = process.communicate(text.encode())
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process.returncode, output.decode(errors="replace")

    def _spawn(self, output: int) -> "subprocess.Popen[bytes]":
        listen = {"listen_addresses": LOOPBACK, "port": str(self.port), "unix_socket_directories": ""}
        return spawn(
            [self._program("postgres"), "-D", _data_path(self._cluster, self._user), *self._settings(listen)],
            death_signal=self.stop_signal,
            cwd=self._cluster,
            env=_ENVIRONMENT,
            user=self._user,
            output=output,
            pass_fds=[self._lock],
        )

    def _is_ready(self) -> bool:
        # The server writes this into its own pid file, so another program on the same port is not mistaken for it.
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def _settings(self, extra: dict[str, str]) -> list[str]:
        settings = {
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            "log_min_messages": "warning",
            # The client gets the error of a refused statement; in the log, its text would show customers' data.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
            **self._chosen,
            **extra,
            **({} if self._durable else _NOT_DURABLE),
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _program(self, name: str) -> Path:
        assert self._runtime is not None
        return self._runtime.program(name)


def _data_path(cluster: Path, user: ServerUser | None) -> str:
    # The account that runs the server usually cannot enter root's folders. The server is started inside its data
    # folder, and this path reaches it without going through them, so no permission has to change.
    if user is not None and sys.platform == "linux":
        return "/proc/self/cwd"
    return str(cluster)
