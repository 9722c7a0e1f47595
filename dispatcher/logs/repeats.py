"""Which lines are left out because the same thing has been said often: a failure that happens a thousand times a second
must not fill the disk. Pure."""

from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

MOST = 20  # lines that say the same, in each MINUTE
MINUTE = 60.0


class Kind(NamedTuple):
    """Lines of one kind say the same of different things."""

    logger: str
    level: int
    event: str


@dataclass(slots=True)
class _Said:
    began: float
    lines: int = 0
    left_out: int = 0


@dataclass(slots=True)
class Repeats:
    """Counts lines of each kind, from the first one for a minute. Any thread may ask."""

    _said: dict[Kind, _Said] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _ends: float = float("inf")  # when the oldest minute does

    def passes(self, kind: Kind, now: float) -> bool:
        """Whether a line of this kind is written now."""
        with self._lock:
            said = self._said.setdefault(kind, _Said(now))
            self._ends = min(self._ends, said.began + MINUTE)
            if said.lines < MOST:
                said.lines += 1
                return True
            said.left_out += 1
            return False

    def ended(self, now: float) -> list[tuple[Kind, int]]:
        """The kinds whose minute is over and of which lines were left out, with how many: to be told, once."""
        if now < self._ends:  # as nearly always
            return []
        with self._lock:
            over = {kind: said for kind, said in self._said.items() if now >= said.began + MINUTE}
            for kind in over:
                del self._said[kind]
            self._ends = min((said.began + MINUTE for said in self._said.values()), default=float("inf"))
        return [(kind, said.left_out) for kind, said in over.items() if said.left_out]
