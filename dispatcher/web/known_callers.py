"""Who calls, remembered for a few seconds, so that most requests need no query for it."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from dispatcher.accounts.api_keys import Caller, Shown

KEPT_SECONDS = 5.0  # how long a revoked key can still send and read
_MAX_KEPT = 10_000


class KnownCallers:
    """The callers of one API process, by the header that they sent, and by the key that it shows: a key has any number
    of headers, for it can be spelt in many ways and have thousands of tokens. Both are kept as digests, refusals not at
    all."""

    def __init__(self) -> None:
        self._by_header: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()  # until when
        self._by_key: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()  # since when
        self._looks: dict[bytes, asyncio.Task[Caller | None]] = {}

    def kept(self, authorization: str) -> Caller | None:
        """The caller with this header, as found by a look of the last 5 s, if the key or token is still valid."""
        found = self._by_header.get(_mark(authorization))
        return found[1] if found is not None and found[0] > monotonic() else None

    def kept_with(self, authorization: str, shown: Shown) -> Caller | None:
        """The caller with a header that shows this, as found by such a look for the same key with any header."""
        found = self._by_key.get(_mark(shown.mark))
        if found is None:
            return None
        self._keep_header(authorization, shown, *found)
        return self.kept(authorization)

    def keep(self, authorization: str, shown: Shown, caller: Caller) -> None:
        """Keeps who was just found by a look."""
        now = monotonic()
        _put(self._by_key, shown.mark, (now, caller))
        self._keep_header(authorization, shown, now, caller)

    async def look(self, shown: Shown, ask: Callable[[Shown], Caller | None]) -> Caller | None:
        """What `ask` says, in a thread. Raises what it raises. Requests that show the same key at once share one look:
        so whoever sends very many does not have the threads that others need."""
        mark = _mark(shown.mark)
        look = self._looks.get(mark)
        if look is None or look.done() or look.get_loop() is not asyncio.get_running_loop():
            look = self._looks[mark] = asyncio.create_task(self._look(mark, shown, ask))
        return await asyncio.shield(look)

    def forget(self) -> None:
        """Asks the database again about everybody: a key was revoked, or an account suspended."""
        self._by_header.clear()
        self._by_key.clear()

    async def _look(self, mark: bytes, shown: Shown, ask: Callable[[Shown], Caller | None]) -> Caller | None:
        try:
            return await asyncio.to_thread(ask, shown)
        finally:
            self._looks.pop(mark, None)

    def _keep_header(self, authorization: str, shown: Shown, since: float, caller: Caller) -> None:
        ends = [end for end in (shown.until, caller.expires_at) if end is not None]
        seconds = min([KEPT_SECONDS, *((end - caller.shown_at).total_seconds() for end in ends)])
        _put(self._by_header, authorization, (since + seconds, caller))


def _put(kept: OrderedDict[bytes, tuple[float, Caller]], what: str, found: tuple[float, Caller]) -> None:
    mark = _mark(what)
    kept[mark] = found
    kept.move_to_end(mark)
    if len(kept) > _MAX_KEPT:
        kept.popitem(last=False)


def _mark(what: str) -> bytes:
    return hashlib.sha256(what.encode(errors="surrogatepass")).digest()
