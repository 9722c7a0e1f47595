"""Starts a child that leads its own session and cannot outlive the process that started it."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import Signals
from typing import IO

from dispatcher.embedded.spawning import parent_watch
from dispatcher.embedded.spawning.parent_death import HAS_DEATH_SIGNAL, die_with_parent
from dispatcher.embedded.spawning.server_user import ServerUser

_watcher: subprocess.Popen[bytes] | None = None


def spawn(
    argv: Sequence[str | Path],
    *,
    death_signal: Signals,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: ServerUser | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    output: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start a program in its own session. When this process dies, however it dies, the child gets `death_signal`.

    Call it from a thread that lives as long as the process does: the kernel's signal follows the starting thread.
    On macOS, which has no such signal, one small watcher process per engine does the same (see `parent_watch`).
    """
    with warnings.catch_warnings():
        # Python warns of preexec_fn beside threads. What runs here takes no lock: one call into libc, bound beforehand.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = subprocess.Popen(
            [os.fspath(part) for part in argv],
            cwd=cwd,
            env=None if env is None else dict(env),
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid(), death_signal) if HAS_DEATH_SIGNAL else None,  # noqa: PLW1509
        )
    if not HAS_DEATH_SIGNAL:
        _watch(process.pid, death_signal)
    return process


def inherited(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `extra` on top, for a child (copied as a whole, never read here)."""
    return {**os.environ, **extra}


def _dies_with(parent: int, death_signal: Signals) -> Callable[[], None]:
    def before_exec() -> None:  # runs after the change of user, which would clear the setting
        die_with_parent(death_signal, parent)

    return before_exec


def _watch(pid: int, death_signal: Signals) -> None:
    global _watcher  # noqa: PLW0603 - one watcher per process is the point
    if _watcher is None or _watcher.poll() is not None:
        _watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", parent_watch.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    assert _watcher.stdin is not None
    _watcher.stdin.write(b"%d %d\n" % (pid, death_signal))
    _watcher.stdin.flush()
