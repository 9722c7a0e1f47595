"""Who authorization headers identify, remembered for a few seconds, so that most requests need no query for it."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeAlias, TypeVar

from dispatcher.accounts.api_keys import Caller, shown_by

KEPT_SECONDS = 5.0  # how long a revoked key can still send and read
_MAX_KEPT = 10_000

Refusal = TypeVar("Refusal")
Identify: TypeAlias = Callable[[str], Caller | Refusal]


class SharedLooks(Generic[Refusal]):
    """Looks at who shows something: requests that show the same share one. So whoever sends very many at once, all with
    the same key, does not have the threads that others need."""

    def __init__(self) -> None:
        self._looks: dict[bytes, asyncio.Task[Caller | Refusal]] = {}

    async def look(self, shown: str, identify: Identify[Refusal]) -> Caller | Refusal:
        """What `identify` says of a token, session or key (id, dot, secret), in a thread. Raises what `identify`
        raises."""
        mark = _mark(str(shown_by(shown) or shown))
        look = self._looks.get(mark)
        if look is None or look.done() or look.get_loop() is not asyncio.get_running_loop():
            look = self._looks[mark] = asyncio.create_task(self._look(shown, mark, identify))
        return await asyncio.shield(look)

    async def _look(self, shown: str, mark: bytes, identify: Identify[Refusal]) -> Caller | Refusal:
        try:
            return await asyncio.to_thread(identify, shown)
        finally:
            self._looks.pop(mark, None)


class KnownCallers(Generic[Refusal]):
    """The callers of one API process. Headers are kept as digests, refusals not at all."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()
        self._looks: SharedLooks[Refusal] = SharedLooks()

    def kept(self, authorization: str | None) -> Caller | None:
        """The caller with this header, as found by a look of the last 5 s, if the key or token is still valid."""
        until, caller = self._kept.get(_mark(authorization), (0.0, None))
        return caller if until > monotonic() else None

    async def look(self, authorization: str, token: str, identify: Identify[Refusal]) -> Caller | Refusal:
        """What `identify` says of the token in a header, in a thread; it is kept. Raises what `identify` raises."""
        found = await self._looks.look(token, identify)
        mark = _mark(authorization)
        self._kept.pop(mark, None)
        if isinstance(found, Caller):
            valid = (found.valid_until - found.shown_at).total_seconds() if found.valid_until else KEPT_SECONDS
            self._kept[mark] = (monotonic() + min(valid, KEPT_SECONDS), found)
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return found

    def forget(self) -> None:
        """Asks the database again about everybody: a key was revoked, or an account suspended."""
        self._kept.clear()


def _mark(shown: str | None) -> bytes:
    return hashlib.sha256((shown or "").encode(errors="surrogatepass")).digest()
