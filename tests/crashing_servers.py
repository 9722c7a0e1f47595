"""Servers that can end in any way, killed whole as when their machine dies included, and start again where they were:
on the same port, with the same data."""

import contextlib
from signal import Signals

import psutil

from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from dispatcher.embedded.servers.server import EmbeddedServer
from dispatcher.embedded.servers.valkey import EmbeddedValkey


class _Crashing(EmbeddedServer):
    def end(self, how: Signals) -> None:
        """Ends it by a signal to its main process; waits for that."""
        self.process.send_signal(how)
        self.process.wait()

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
        """Starts it after its end; waits until it answers."""
        with (self.directory / "server.log").open("ab") as log:
            self._process = self._spawn(log.fileno())
        assert self._becomes_ready(), self._why()


class CrashingPostgres(_Crashing, EmbeddedPostgres):
    """SIGINT is its fast end, SIGQUIT its immediate one."""

    def start_again(self) -> None:
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        super().start_again()


class CrashingValkey(_Crashing, EmbeddedValkey):
    """What it keeps of its data, its `persistent` says."""
