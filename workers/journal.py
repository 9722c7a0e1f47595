"""What a worker child works on, written to memory that outlives it: whoever comes after it learns what may have been
sent, and what it was handling when it died.

For each delivery in work there is an entry: its id, the attempt's number, and whether the request was handed to the
transport. The head says whose claims these are, and which entries were being handled, by Python or a library, just
then. Whatever is claimed and not here was not sent.
"""

from collections.abc import Iterable, Sequence
from mmap import mmap
from typing import NamedTuple, Protocol

# In words of 4 bytes: the owner, where the entries end, whether claims are being prepared, whether the loop made no
# progress and was ended, how many entries are being handled, which ones; then the entries:
# delivery, number of the attempt, state. Assigning words is the fastest way to write a few of them.
_WORD, _ID = 4, 36  # bytes; ids are texts
_END, _CLAIMING, _STUCK, _COUNT, _HANDLED, _ENTRIES = 9, 10, 11, 12, 13, 128
_ENTRY, _NUMBER, _STATE = 11, 9, 10
MOST_HANDLED = _ENTRIES - _HANDLED  # more than a batch has
_GONE, _UNSENT, _SENT = 0, 1, 2


class Attempt(Protocol):
    """One attempt of a delivery."""

    @property
    def delivery_id(self) -> str: ...
    @property
    def number(self) -> int: ...


class Left(NamedTuple):
    """What a journal says of a loop that died: the claims' owner, whether it was preparing new ones, the attempts
    (delivery, number) that may have been sent, those that were being handled, and whether it was ended because it made
    no progress."""

    owner: str
    claiming: bool
    sent: frozenset[tuple[str, int]]
    handled: frozenset[tuple[str, int]]
    stuck: bool = False


class Journal:
    """The journal in one child's memory. Only one loop at a time writes it."""

    def __init__(self, memory: mmap) -> None:
        self._bytes = memoryview(memory)
        self._words = self._bytes.cast("i")
        self._forget()

    @property
    def room(self) -> int:
        """How many more deliveries have a place."""
        return (len(self._words) - _ENTRIES) // _ENTRY - len(self._places)

    def begin(self, owner: str) -> None:
        """A loop begins: its claims are those of `owner`."""
        self._forget()
        self._words[_END] = _ENTRIES
        self._words[_CLAIMING] = self._words[_STUCK] = self._words[_COUNT] = 0
        self._bytes[:_ID] = owner.encode()

    def end(self) -> None:
        """Nothing is in work any more."""
        self._bytes[:_ID] = bytes(_ID)

    def claiming(self, *, now: bool) -> None:
        """Claims are being prepared: whatever has no entry yet is being handled. Or they no longer are."""
        self._words[_CLAIMING] = now

    def handle(self, attempts: Sequence[Attempt]) -> None:
        """These, at most MOST_HANDLED, are being handled from now on, and nothing else."""
        words, places = self._words, self._places
        at = _HANDLED
        for attempt in attempts:
            delivery_id = attempt.delivery_id
            place = places.get(delivery_id)
            if place is None:
                place = places[delivery_id] = self._free.pop() if self._free else self._next()
                self._bytes[place * _WORD : place * _WORD + _ID] = delivery_id.encode()
                words[place + _NUMBER] = attempt.number
                words[place + _STATE] = _UNSENT
            words[at] = place
            at += 1
        words[_COUNT] = at - _HANDLED

    def handled(self) -> None:
        """Nothing is being handled any more."""
        self._words[_COUNT] = 0

    def sent(self, attempts: Iterable[Attempt]) -> None:
        """The request of these, which were handled before, is handed to the transport now."""
        words, places = self._words, self._places
        for attempt in attempts:
            words[places[attempt.delivery_id] + _STATE] = _SENT

    def remove(self, attempts: Iterable[Attempt]) -> None:
        """The results of these are in the database."""
        words, places, free = self._words, self._places, self._free
        for attempt in attempts:
            place = places.pop(attempt.delivery_id, None)
            if place is not None:
                words[place + _STATE] = _GONE
                free.append(place)

    def was_stuck(self) -> None:
        """The loop before, if it has left something, made no progress and was ended for that."""
        self._words[_STUCK] = 1

    def left(self) -> Left | None:
        """What a loop left that has not ended. None if none has."""
        owner = bytes(self._bytes[:_ID])
        if owner == bytes(_ID):
            return None
        words = self._words
        places = range(_ENTRIES, words[_END], _ENTRY)
        handled = words[_HANDLED : _HANDLED + words[_COUNT]]
        return Left(
            owner.decode(),
            bool(words[_CLAIMING]),
            frozenset(self._attempt(place) for place in places if words[place + _STATE] == _SENT),
            frozenset(self._attempt(place) for place in handled),
            bool(words[_STUCK]),
        )

    def _attempt(self, place: int) -> tuple[str, int]:
        return bytes(self._bytes[place * _WORD : place * _WORD + _ID]).decode(), self._words[place + _NUMBER]

    def _next(self) -> int:
        """A place that was not used before."""
        place: int = self._words[_END]
        self._words[_END] = place + _ENTRY
        return place

    def _forget(self) -> None:
        self._places: dict[str, int] = {}
        self._free: list[int] = []  # places used before
