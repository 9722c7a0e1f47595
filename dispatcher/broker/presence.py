"""Whether the broker is there, as one process sees it."""

import threading
import time
from collections.abc import Callable

PAUSE = 5.0  # seconds between two looks


class Presence:
    """While the broker is away, nobody waits for it: those who come by start a thread that looks, once in a while."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """`tell` is called once in an outage, with the kind of error."""
        self._tell = tell
        self._away = False
        self._look_at = 0.0
        self._looking: threading.Thread | None = None
        self._lock = threading.Lock()

    def is_away(self, look: Callable[[], object]) -> bool:
        """Costs no more than the start of a thread, in which `look` raises if the broker is still away."""
        if not self._away:
            return False
        if self._lock.acquire(blocking=False):
            # In a child that was forked meanwhile, the thread is not alive.
            try:
                idle = self._looking is None or not self._looking.is_alive()
                if idle and time.monotonic() >= self._look_at:
                    self._looking = threading.Thread(target=self._look_once, args=(look,), name="broker", daemon=True)
                    self._looking.start()
            finally:
                self._lock.release()
        return True

    def failed(self, error: Exception) -> None:
        """Somebody has just found that it is away."""
        with self._lock:
            self._look_at = time.monotonic() + PAUSE
            known, self._away = self._away, True
        if not known:
            self._tell(type(error).__name__)

    def _look_once(self, look: Callable[[], object]) -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 - each error is an outage
            self.failed(error)
        else:
            self._away = False
