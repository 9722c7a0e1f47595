"""Who authorization headers identify, remembered for a few seconds, so that most requests need no query for it."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeAlias, TypeVar

from dispatcher.accounts.api_keys import Caller

KEPT_SECONDS = 5.0  # how long a revoked key can still send and read
_MAX_KEPT = 10_000

Refusal = TypeVar("Refusal")
Identify: TypeAlias = Callable[[str | None], Caller | Refusal]


class KnownCallers(Generic[Refusal]):
    """The callers of one API process. Headers are kept as digests, refusals not at all."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()
        self._looks: dict[bytes, asyncio.Task[Caller | Refusal]] = {}

    def kept(self, authorization: str | None) -> Caller | None:
        """The caller with this header, as found by a look of the last 5 s, if the key or token is still valid."""
        until, caller = self._kept.get(_mark(authorization), (0.0, None))
        return caller if until > monotonic() else None

    async def look(self, authorization: str | None, identify: Identify[Refusal]) -> Caller | Refusal:
        """What `identify` says of a header, in a thread. Requests with the same header share one look. Raises what
        `identify` raises."""
        mark = _mark(authorization)
        look = self._looks.get(mark)
        if look is None or look.done() or look.get_loop() is not asyncio.get_running_loop():
            look = self._looks[mark] = asyncio.create_task(self._look(authorization, mark, identify))
        return await asyncio.shield(look)

    def forget(self) -> None:
        """Asks the database again about everybody: a key was revoked, or an account suspended."""
        self._kept.clear()

    async def _look(self, authorization: str | None, mark: bytes, identify: Identify[Refusal]) -> Caller | Refusal:
        try:
            found = await asyncio.to_thread(identify, authorization)
        finally:
            self._looks.pop(mark, None)
        self._kept.pop(mark, None)
        if isinstance(found, Caller):
            valid = (found.valid_until - found.shown_at).total_seconds() if found.valid_until else KEPT_SECONDS
            self._kept[mark] = (monotonic() + min(valid, KEPT_SECONDS), found)
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return found


def _mark(authorization: str | None) -> bytes:
    return hashlib.sha256((authorization or "").encode("latin-1", "replace")).digest()
