"""What is left out of a process, and what it gives back."""

import platform
import subprocess
import sys

import psutil
import pytest

from dispatcher.memory import give_back

_WITHOUT = """
from dispatcher.memory import leave_out
leave_out("rich")
import structlog.dev
try:
    import rich.console
except ModuleNotFoundError as missing:
    print(missing.name, structlog.dev.rich)
"""


def test_what_is_left_out_is_as_if_it_were_not_installed() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "rich None\n"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to give memory back")
def test_what_was_freed_is_given_back() -> None:
    before = psutil.Process().memory_info().rss
    pieces = [bytearray(50_000) for _ in range(2_000)]  # too small for pages of their own
    for piece in pieces:
        piece[::4096] = b"x" * len(piece[::4096])
    kept = pieces[::100]  # so that the heap cannot simply end earlier
    del pieces, piece
    give_back()
    assert psutil.Process().memory_info().rss - before < 25_000_000
    assert len(kept) == 20
