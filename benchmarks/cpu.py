"""CPU time and memory of process trees, and the figures of a window between two looks at them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

Parts = Mapping[str, Sequence[int]]  # part of the system -> the root processes of its trees


@dataclass(frozen=True, slots=True)
class Look:
    """How much had been done, and how much CPU time each part had used, at one moment (monotonic seconds)."""

    at: float
    done: int
    cpu: Mapping[str, float]


def look(parts: Parts, done: int) -> Look:
    return Look(time.monotonic(), done, {part: sum(map(cpu_seconds, roots)) for part, roots in parts.items()})


def window(first: Look, last: Look) -> dict[str, float]:
    """`rate` (per second) and `<part>_us` (CPU microseconds per item) of what was done between two looks."""
    done, seconds = last.done - first.done, last.at - first.at
    if done <= 0 or seconds <= 0:
        raise ValueError("nothing was done between the two looks: measure more")
    return {
        "rate": done / seconds,
        **{f"{part}_us": (last.cpu[part] - first.cpu[part]) / done * 1e6 for part in last.cpu},
    }


def cpu_seconds(root: int) -> float:
    """CPU time of a process and all its descendants, ended ones included: their parents' counters hold it."""
    total = 0.0
    for process in _tree(root):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def largest_child_mb(root: int) -> float:
    """Resident memory of the largest child of a process, in MB; 0 without children."""
    sizes = [0.0]
    for process in psutil.Process(root).children():
        with suppress(psutil.NoSuchProcess):
            sizes.append(process.memory_info().rss / 1e6)
    return max(sizes)


def tree_mb(root: int) -> float:
    """Memory of a process tree in MB; memory that its processes share is counted once."""
    total = 0
    for process in _tree(root):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 1e6


def _tree(root: int) -> Iterator[psutil.Process]:
    process = psutil.Process(root)
    yield process
    yield from process.children(recursive=True)
