"""What a receiver does with each request, whatever web framework it came through."""

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from dispatcher.errors import HandOverFailed, VerificationError
from dispatcher.verify.verifier import Callback, Headers, Verifier

MAX_BODY = 2 * 1024 * 1024  # bytes: the engine sends little more than half of it


class SeenIds(Protocol):
    """Where a receiver remembers what it has taken, for three days at least: the engine retries for two."""

    def __contains__(self, message_id: str, /) -> bool: ...
    def add(self, message_id: str, /) -> None: ...


class RecentIds:
    """The newest ids, in this process's memory: other processes do not know them, and its end forgets them."""

    def __init__(self, most: int = 100_000) -> None:
        self._most, self._ids, self._lock = most, dict[str, None](), threading.Lock()

    def __contains__(self, message_id: str, /) -> bool:
        return message_id in self._ids

    def add(self, message_id: str, /) -> None:
        with self._lock:
            self._ids[message_id] = None
            if len(self._ids) > self._most:
                del self._ids[next(iter(self._ids))]


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer: a status, and a plain text for whoever looks after the webhook."""

    status: int
    text: str = ""


_TAKEN = Answer(204)


class Receiver:
    """Verifies each request, hands what is new over to a function of yours, and says what to answer.

    keys      what signatures are checked with, as for `Verifier`
    hand_over is given each genuine callback, once if `seen` remembers it. It should put it into a queue or a table and
              return: the engine waits for the answer. If it raises, the callback comes again
    seen      remembers ids; default: RecentIds
    id_of     the id of one message, for webhooks with batches. Without it a callback is known by its own id, and
              messages of a batch that failed come again in another one, with another id
    """

    def __init__(
        self,
        *keys: str,
        hand_over: Callable[[Callback], object],
        seen: SeenIds | None = None,
        id_of: Callable[[Any], str] | None = None,
    ) -> None:
        """Raises InvalidKey."""
        self._verifier = Verifier(*keys)
        self._hand_over, self._id_of = hand_over, id_of
        self._seen = RecentIds() if seen is None else seen

    def answer(self, headers: Headers, body: bytes, *, now: float | None = None) -> Answer:
        """Deals with one request; arguments as for `Verifier.verify`. 204: taken, or nothing new. 503: not verified.

        Raises HandOverFailed if `hand_over`, `seen` or `id_of` raised: answer 500 then, as frameworks do by themselves.
        Its `__cause__` is what was raised.
        """
        if body.strip() == b"[]":
            return _TAKEN  # a URL verification. It may be signed with a key that is shown only after this answer
        try:
            callback = self._verifier.verify(headers, body, now=now)
        except VerificationError as error:
            # Not 4xx, which the engine takes for "never": with a wrong key here, genuine messages would be lost.
            return Answer(503, f"not verified: {error}\n")
        try:
            self._take(callback)
        except Exception as error:
            # Wrapped, because frameworks make a 404 of some exceptions, after which the message would not come again.
            raise HandOverFailed(f"not handed over: {type(error).__name__}") from error
        return _TAKEN

    def _take(self, callback: Callback) -> None:
        if self._id_of is None:
            new = {} if callback.id in self._seen else {callback.id: callback.messages}
        else:
            by_id = {self._id_of(message): message for message in callback.messages}
            new = {message_id: message for message_id, message in by_id.items() if message_id not in self._seen}
            callback = replace(callback, messages=list(new.values()))
        if not new:
            return
        if inspect.isawaitable(self._hand_over(callback)):
            raise TypeError("hand_over is async, and nothing awaits it: give a plain function")
        # Afterwards: if this process dies in between, the callback comes again, and is not lost.
        for message_id in new:
            self._seen.add(message_id)
