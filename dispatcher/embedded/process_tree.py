"""The process tree: servers and children are started in order, watched, started again when they end by themselves, and
ended together."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from types import FrameType
from typing import Self, TextIO

from dispatcher.embedded.errors import ChildDied, StartFailed, how_it_ended
from dispatcher.embedded.output import ChildOutput, Display, LogFile, PrefixedLines
from dispatcher.embedded.readiness import at_once
from dispatcher.embedded.servers.server import EmbeddedServer
from dispatcher.embedded.spawning.spawn import spawn

_NAME_WIDTH = 8
_PUMP_SECONDS = 0.1
# All end within 5 s: first the processes that use the servers, by force if they take longer than this, then these.
_CHILDREN_END_WITHIN = 3.2
_ALL_END_WITHIN = 4.6
BETWEEN_STARTS = 5.0  # seconds, at least, from one start of a program to its next
_MOST_TRIES = 3  # to start a server again that the others need


class StopRequested(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP: the tree must end."""


@dataclass(frozen=True, slots=True)
class Child:
    """One program of the tree. Stopping signals only its main process, which ends its own children."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Callable[[], bool] = at_once
    ready_within: float = 60.0
    stop_signal: Signals = Signals.SIGTERM
    cwd: Path | None = None


@dataclass(slots=True)
class _Running:
    name: str
    process: "subprocess.Popen[bytes]"
    stop_signal: Signals
    server: EmbeddedServer | None = None
    child: Child | None = None
    needed: bool = False  # without it nothing else can run
    deadline: float = 0.0
    is_ready: bool = False
    began: float = field(default_factory=time.monotonic)
    again_at: float | None = None  # it has ended by itself, and is started again then
    tries: int = 0

    def becomes_ready(self) -> bool:
        """Whether it is ready for the first time since its start."""
        if self.is_ready or self.child is None or not self.child.ready():
            return False
        self.is_ready = True
        return True


class ProcessTree:
    """Enter it, start servers and children, then `run`. Leaving ends all of them, in reverse order, within 5 s.

    Everything happens in the thread that uses it, which must be the main one: the signal that ends the children of a
    killed parent follows that thread. A second Ctrl-C ends everything at once.
    """

    def __init__(
        self, *, stream: TextIO | None = None, display: Display | None = None, log: LogFile | None = None
    ) -> None:
        """What children write goes to `display` (default: every line, to `stream`), and is kept in `log`."""
        self._display = display or PrefixedLines(width=_NAME_WIDTH, stream=stream)
        self._output = ChildOutput(self._display, log)
        self._running: list[_Running] = []
        self._requests = 0
        self._interruptible = False
        self._previous: dict[Signals, signal.Handlers | Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        for number in (Signals.SIGINT, Signals.SIGTERM, Signals.SIGHUP):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stop_all()
        finally:
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def serve(self, name: str, make: Callable[[int], EmbeddedServer], *, needed: bool = False) -> EmbeddedServer:
        """Start an embedded server as part of the tree. `make` gets the file descriptor for its output. If it is
        `needed`, the tree ends when the server cannot be started again."""
        writing = self._output.open(name)
        server = make(writing)
        self._display.became(name, ready=False)
        try:
            with self._stops_at_once():
                server.start()
        except StartFailed:
            self._show_last_words(name)
            raise
        finally:
            os.close(writing)
            self._output.pump(0)
        self._running.append(_Running(name, server.process, server.stop_signal, server, needed=needed, is_ready=True))
        self._display.became(name, ready=True)
        return server

    def start(self, *children: Child) -> None:
        """Start children together and wait until each is ready. Raises StartFailed, ChildDied or StopRequested."""
        started = [self._spawn(child) for child in children]
        self._running.extend(started)
        waiting = list(started)
        while waiting:
            self._watch()
            for running in [running for running in waiting if running.becomes_ready()]:
                waiting.remove(running)
                self._display.became(running.name, ready=True)
            for running in waiting:
                if time.monotonic() > running.deadline:
                    self._show_last_words(running.name)
                    raise StartFailed(running.name, "it was not ready in time; its output is above")

    def finish(self, child: Child) -> None:
        """Run a program and wait for its end. Raises StartFailed if it fails."""
        running = self._spawn(child)
        self._running.append(running)
        while (status := running.process.poll()) is None:
            self._pump()
        self._running.remove(running)
        self._display.became(child.name, ready=None)
        self._output.pump(0)
        if status != 0:
            self._display.last_words(child.name)
            raise StartFailed(child.name, f"it ended with status {status}; its output is above")

    def run(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Watch until `until` returns true (True) or a stop is requested (False). Raises ChildDied if a child ends by
        itself."""
        return self._run(until, self._watch)

    def keep_running(self, until: Callable[[], bool] = lambda: False) -> bool:
        """As `run`, but what ends by itself is started again, with a line that says so. Raises StartFailed if that
        fails three times for a server that is needed."""
        return self._run(until, self._keep)

    def say(self, text: str) -> None:
        """Print a message of the tree itself."""
        self._display.say(text)

    def _run(self, until: Callable[[], bool], turn: Callable[[], None]) -> bool:
        try:
            while not until():
                turn()
        except StopRequested:
            return False
        return True

    def _spawn(self, child: Child) -> _Running:
        writing = self._output.open(child.name)
        try:
            process = spawn(child.argv, death_signal=Signals.SIGKILL, cwd=child.cwd, env=child.env, output=writing)
        except OSError as error:
            raise StartFailed(child.name, f"{child.argv[0]}: {error.strerror}") from error
        finally:
            os.close(writing)
        self._display.became(child.name, ready=False)
        deadline = time.monotonic() + child.ready_within
        return _Running(child.name, process, child.stop_signal, child=child, deadline=deadline)

    def _watch(self) -> None:
        self._pump()
        for running in self._running:
            if (status := running.process.poll()) is not None:
                self._show_last_words(running.name)
                raise ChildDied(running.name, status)

    def _keep(self) -> None:
        self._pump()
        for place, running in enumerate(self._running):
            if running.again_at is None:
                if (status := running.process.poll()) is not None:
                    self._show_last_words(running.name)
                    _kill_group(running)
                    self._put_off(running, how_it_ended(running.name, status))
                elif running.becomes_ready():
                    self.say(f"{running.name} is ready again.")
                    self._display.became(running.name, ready=True)
            elif time.monotonic() >= running.again_at:
                try:
                    self._running[place] = self._started_again(running)
                except StartFailed as error:
                    running.tries += 1
                    if running.needed and running.tries == _MOST_TRIES:
                        raise
                    running.began = time.monotonic()
                    self._put_off(running, str(error))

    def _put_off(self, running: _Running, why: str) -> None:
        """Its next start is some seconds after its last one."""
        now = time.monotonic()
        running.again_at = max(now, running.began + BETWEEN_STARTS)
        wait = running.again_at - now
        self.say(f"{why}; it is started again {f'in {wait:.0f} s' if wait else 'now'}.")
        self._display.became(running.name, ready=False)

    def _started_again(self, ended: _Running) -> _Running:
        """Raises StartFailed."""
        if ended.child is not None:
            return self._spawn(ended.child)
        server = ended.server
        assert server is not None
        writing = self._output.open(ended.name)
        try:
            with self._stops_at_once():
                server.start_again(writing)
        finally:
            os.close(writing)
            self._output.pump(0)
        self.say(f"{ended.name} is ready again.")
        self._display.became(ended.name, ready=True)
        return _Running(ended.name, server.process, server.stop_signal, server, needed=ended.needed, is_ready=True)

    def _show_last_words(self, name: str) -> None:
        self._output.pump(0)
        self._display.last_words(name)

    def _pump(self) -> None:
        self._output.pump(_PUMP_SECONDS)
        if self._requests:
            raise StopRequested

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requests += 1
        if self._interruptible:
            self._interruptible = False
            raise StopRequested

    @contextlib.contextmanager
    def _stops_at_once(self) -> Iterator[None]:
        # For a wait that does not check our flag.
        if self._requests:
            raise StopRequested
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def _stop_all(self) -> None:
        began = time.monotonic()
        already = self._requests
        children = [running for running in self._running if running.server is None]
        servers = [running for running in self._running if running.server is not None]
        for stage, end in ((children, began + _CHILDREN_END_WITHIN), (servers, began + _ALL_END_WITHIN)):
            for running in reversed(stage):
                if running.process.poll() is None:
                    running.process.send_signal(running.stop_signal)
            while any(running.process.poll() is None for running in stage):
                self._output.pump(0.02)
                if time.monotonic() > end or self._requests > already + 1:
                    break
            for running in stage:
                _sweep(running)
        self._output.drain()
        self._running.clear()


def _kill_group(running: _Running) -> None:
    # The child leads its own group. Whatever still runs in it is killed.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(running.process.pid, Signals.SIGKILL)


def _sweep(running: _Running) -> None:
    _kill_group(running)
    running.process.wait()
    if running.server is not None:
        running.server.stop()
