"""Pure. Receivers that close a connection right after an answer without announcing it by `Connection: close`.

A request on such a connection is lost if it is sent just before the end is seen, and it must not be sent again: the
receiver may have taken it. So they get a connection for each request.
"""

from dispatcher.transport.checks import Origin

EARLY = 0.25  # seconds after its last answer: a connection that ends within them was not meant to be used again
_REMEMBERED = 600.0  # seconds
_MOST = 1000  # receivers; the ones found first are forgotten


class EarlyClosers:
    """Those seen in the last minutes. `now` is monotonic."""

    def __init__(self) -> None:
        self._until: dict[Origin, float] = {}

    def add(self, origin: Origin, now: float) -> None:
        self._until.pop(origin, None)
        self._until[origin] = now + _REMEMBERED
        if len(self._until) > _MOST:
            del self._until[next(iter(self._until))]

    def has(self, origin: Origin, now: float) -> bool:
        return bool(self._until) and self._until.get(origin, now) > now
