"""A PostgreSQL that can be killed whole, as when its machine dies, and started again where it was."""

import contextlib

import psutil

from dispatcher.embedded.servers.postgres import EmbeddedPostgres


class CrashingPostgres(EmbeddedPostgres):
    """Clients do not notice more than they must: it comes back on the same port, with the same data."""

    def crash(self) -> None:
        """Kills all its processes."""
        main = psutil.Process(self.process.pid)
        main.suspend()  # so that it starts no other meanwhile
        processes = [main, *main.children()]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(processes, timeout=10)

    def start_again(self) -> None:
        """Starts it after a crash; waits until it answers."""
        (self._cluster / "postmaster.pid").unlink()
        with (self.directory / "server.log").open("ab") as log:
            self._process = self._spawn(log.fileno())
        assert self._becomes_ready(), self._why()
