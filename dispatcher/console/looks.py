"""What many look at at once, read once in a few seconds for all of them: so it costs the same however many look on.
What takes long to read is read more rarely."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import inf
from threading import Lock
from time import monotonic
from typing import TypeVar

from dispatcher.diagnosis.oldest_due import Round
from dispatcher.diagnosis.overview import Overview, read_overview
from dispatcher.diagnosis.running import reading_engine
from dispatcher.installation import Installation
from dispatcher.webhooks.pulses.recent import FRESH, LONGEST, fresh_for

_MOST = 200  # of what is kept
_STATEMENT = 4.0  # seconds that one of the overview's may take

T = TypeVar("T")


class Looks:
    """Of one process."""

    def __init__(self, installation: Installation) -> None:
        self._engine = reading_engine(installation, "dispatcher console", statement=_STATEMENT)
        self._oldest_due = Round()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = Lock()

    def overview(self) -> Overview:
        """How the installation does."""
        return self.fresh("overview", self._read_overview)

    def fresh(self, key: Hashable, read: Callable[[], T], *, seconds: float = FRESH, longest: float = LONGEST) -> T:
        """What `read` returned so many seconds ago at most; if it took long, `longest`. Who comes while it is read
        waits for that."""
        with self._lock:
            self._forget(monotonic())
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
        with kept.lock:
            if kept.until == inf or monotonic() >= kept.until:
                began = monotonic()
                try:
                    kept.value = read()
                except BaseException:
                    kept.until = began  # it is forgotten as others are: not read, it would keep those behind it, too
                    raise
                kept.until = monotonic() + fresh_for(monotonic() - began, seconds, longest)
            value: T = kept.value  # type: ignore[assignment]
            return value

    def _forget(self, now: float) -> None:
        """Drops what nobody has asked for since it is old, and the oldest of too many: a series can be large."""
        while self._kept and (len(self._kept) >= _MOST or next(iter(self._kept.values())).until < now - FRESH):
            self._kept.popitem(last=False)

    def _read_overview(self) -> Overview:
        with self._engine.connect() as connection:
            return read_overview(connection, self._oldest_due)


class _Kept:
    """One thing that was read."""

    __slots__ = ("lock", "until", "value")

    def __init__(self) -> None:
        self.lock, self.until = Lock(), inf  # while it is read
        self.value: object = None


def looks_of(installation: Installation) -> Looks:
    """Those of this process."""
    looks: Looks | None = installation.kept.get(Looks)
    return looks if looks is not None else installation.kept.setdefault(Looks, Looks(installation))
