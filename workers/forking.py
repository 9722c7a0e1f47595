"""One process that has loaded what several use, forks each of them, and starts again what ends by itself.

They share the memory that nobody writes. It does nothing else, so it has hardly a reason to die; if it does, all of
them end at once, and whoever started it starts them together again.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from signal import Signals

import structlog

from dispatcher.embedded.spawning.parent_death import die_with_parent
from dispatcher.logs.output import name_process
from dispatcher.memory import give_back
from dispatcher.metrics.progress import TELL_EVERY, Progress, own, take_over

log = structlog.get_logger("dispatcher.processes")

BETWEEN_STARTS = 5.0  # seconds, at least, from one start of a process to its next
_STOPS = frozenset({Signals.SIGTERM, Signals.SIGINT, Signals.SIGHUP})
_HEARD = _STOPS | {Signals.SIGCHLD}


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    began: float  # monotonic
    first: bool  # it has never been started before


def become_one_of(names: Sequence[str]) -> str:
    """Forks a process for each name, and returns in each of these, with its name. The calling process stays until it is
    told to stop and all of them have ended, then exits; also if one cannot begin, with its status."""
    # A signal that would be ignored, as SIGCHLD is, can be lost even while it is blocked. So each gets a handler here.
    before = {number: signal.signal(number, lambda *_: None) for number in _HEARD}
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    give_back()
    gc.freeze()
    running: dict[int, _Running] = {}
    each = {name: Progress() for name in names}

    def started(name: str, wait: float, *, first: bool) -> bool:
        """Whether this is the new process."""
        parent = os.getpid()
        each[name].note()  # until it does so itself
        if pid := _forked():
            running[pid] = _Running(name, time.monotonic() + wait, first)
            log.info("process started", process=name, pid=pid)
            return False
        die_with_parent(Signals.SIGKILL, parent)
        for number in _HEARD:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        time.sleep(wait)
        for number, handler in before.items():
            signal.signal(number, handler)
        name_process(name, among_others=True)
        take_over(each[name])
        return True

    for name in names:
        if started(name, 0, first=True):
            return name
    status, stopping = 0, False
    while running:
        heard = signal.sigtimedwait(_HEARD, TELL_EVERY if own().is_ready else 1)
        _tell_of(each.values())
        if heard is not None and heard.si_signo in _STOPS:
            stopping = True
            _stop(running)
            continue
        for pid, ended_with in _ended():
            ended = running.pop(pid, None)
            if ended is None:  # in a container, the first process gets what one that was killed leaves
                continue
            lived = max(0.0, time.monotonic() - ended.began)
            if stopping:
                continue
            if ended_with > 0 and ended.first and lived < BETWEEN_STARTS:
                log.error("process cannot begin; the others are stopped", process=ended.name, status=ended_with)
                status, stopping = ended_with, True
                _stop(running)
                continue
            wait = max(0.0, BETWEEN_STARTS - lived)
            log.error(
                "process ended by itself", process=ended.name, status=ended_with, starts_again_in_s=round(wait, 1)
            )
            if started(ended.name, wait, first=False):
                return ended.name
    sys.exit(status)


def _forked() -> int:
    """As `os.fork`, again and again if there is no room for another process, which others may leave soon."""
    while True:
        try:
            return os.fork()
        except OSError as error:
            log.error("process cannot be started: tried again in a second", error=error.strerror)
            time.sleep(1)


def _tell_of(processes: Collection[Progress]) -> None:
    """This process is as well as the one of them that is least well."""
    if not any(process.stands for process in processes):
        own().turned()
    if not own().is_ready and all(process.is_ready for process in processes):
        own().begin()


def _stop(running: dict[int, _Running]) -> None:
    # At Ctrl-C they get SIGINT as well, from the terminal. After a SIGTERM of ours that changes nothing.
    for pid in running:
        os.kill(pid, Signals.SIGTERM)


def _ended() -> Iterator[tuple[int, int]]:
    """The processes that have ended since the last look, each with its exit status, or its signal as a negative one."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)
