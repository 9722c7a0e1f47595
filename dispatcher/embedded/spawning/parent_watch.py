"""Ends processes whose parent has died, where the kernel has no parent-death signal (macOS). Run as a script, by path.

The parent holds the other end of this program's standard input and writes one line "PID SIGNAL" per child; the end of
input means that the parent is gone, however it ended. This imports nothing from the package: it must start fast.
"""

import contextlib
import os
import subprocess
import sys
import time

_LOOKS, _BETWEEN = 20, 0.1  # seconds


def watch() -> None:
    """Collect children until the parent is gone, then signal those that it left."""
    children: dict[int, int] = {}
    for line in sys.stdin:
        pid, _, signal_number = line.partition(" ")
        children[int(pid)] = int(signal_number)
    # Each is adopted a moment after its parent's end.
    for _ in range(_LOOKS):
        for pid in [pid for pid in children if _is_orphaned_leader(pid)]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, children.pop(pid))
        time.sleep(_BETWEEN)


def _is_orphaned_leader(pid: int) -> bool:
    # The number of a child that ended long ago may belong to another process by now. Our children lead their own
    # session and were just adopted, which is hardly ever true of another process.
    try:
        if os.getsid(pid) != pid:
            return False
    except OSError:
        return False
    asked = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return asked.stdout.strip() == "1"


if __name__ == "__main__":
    watch()
