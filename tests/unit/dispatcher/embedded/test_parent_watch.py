"""The watcher of parents, where the kernel has no signal for their death."""

import io
import os
from signal import Signals

import pytest

from dispatcher.embedded.spawning import parent_watch


def test_a_child_that_is_adopted_late_is_ended_all_the_same_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: dict[int, int] = {}
    ended: list[tuple[int, int]] = []

    def is_orphaned(pid: int) -> bool:
        looked[pid] = looked.get(pid, 0) + 1
        return pid == 11 or looked[pid] > 3

    monkeypatch.setattr(parent_watch, "_BETWEEN", 0.0)
    monkeypatch.setattr(parent_watch, "_is_orphaned_leader", is_orphaned)
    monkeypatch.setattr(parent_watch.sys, "stdin", io.StringIO("11 9\n12 15\n"))
    monkeypatch.setattr(os, "kill", lambda pid, number: ended.append((pid, number)))
    parent_watch.watch()
    assert ended == [(11, Signals.SIGKILL), (12, Signals.SIGTERM)]
