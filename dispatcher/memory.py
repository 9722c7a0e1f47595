"""Keeps a process small: what it does not use is not loaded, and what it has freed goes back to the system."""

import ctypes
import gc
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _LeftOut(MetaPathFinder):
    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self._packages:
            raise ModuleNotFoundError(f"{fullname} is left out of this process", name=fullname)
        return None


def leave_out(*packages: str) -> None:
    """From now on, these packages cannot be imported in this process, as if they were not installed; what is loaded
    already stays. Call it first of all: their users look for them while they are imported."""
    sys.meta_path.insert(0, _LeftOut(frozenset(packages)))


def collect_rarely() -> None:
    """The objects of a request or a delivery are freed by reference counts: looking for cycles at the usual rate would
    waste time, and each look at all of them holds up everything for a tenth of a second."""
    gc.set_threshold(20_000, 20, 20)


def give_back() -> None:
    """Gives what this process has freed back to the system, as far as its C library can. Takes 0.1 s."""
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:  # glibc's
        trim(0)
