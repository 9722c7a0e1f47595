"""The bell: how a parked loop learns that something is due.

The loop asks the broker for the next ring or message, and goes on; the answer makes a descriptor readable. One ring
goes to one loop, the one that has waited longest. Taking it is what clears it (`dispatcher/wake.py` says why nothing is
missed).
"""

from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Any

import structlog

from dispatcher.wake import AWAKE_SECONDS, BELL, DELIVER, PARKED, QUEUES, Waker, flag_of

log = structlog.get_logger("dispatcher.bell")

SLICE = 1  # seconds for which one pop waits, and how often the mark is set
PATIENCE = 2.0  # seconds after it in which its answer must have come
SAFETY = 5.0  # seconds between two looks without a ring: one may have been lost
UNHEARD = 1.0  # the same while there is no connection that could bring one
PAUSE = 1.0  # seconds until the next try to connect; longer where a try takes long

Command = tuple[object, ...]
_MARK = ("SET", PARKED, "1", "EX", AWAKE_SECONDS)
# Messages are taken, too. Those of versions before this one bring no ring with them; and where every child has its
# loop, nobody else would take a message.
_POP = ("BLPOP", BELL, QUEUES[DELIVER], SLICE)
_CLEAR_FLAG = ("DEL", flag_of(DELIVER))


class Bell:
    """The bell of one loop. Nothing here waits for the broker, except for a connection. Its errors are outages,
    whatever they say: the loop connects again, and meanwhile looks by itself."""

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        self._connection: Any = None  # a redis.Connection, most of which has no types
        self._asked_at: float | None = None  # when the pop was sent whose answer has not come, monotonic
        self._mark_at = 0.0
        self._connect_at = 0.0
        self._told = False  # that the broker is away

    @property
    def descriptors(self) -> frozenset[int]:
        """What becomes readable when an answer comes."""
        return frozenset() if self._connection is None else frozenset({self._connection._sock.fileno()})

    @property
    def is_heard(self) -> bool:
        """Whether a connection could bring something."""
        return self._connection is not None

    @property
    def look_every(self) -> float:
        """Seconds after which the loop must look by itself."""
        return SAFETY if self.is_heard else UNHEARD

    def listen(self, now: float, pops_at: float) -> float:
        """Sets the mark that the loop will look, if it is time to, and from `pops_at` on asks for the next ring.
        Returns when it wants to be called again, monotonic."""
        if self._asked_at is not None:
            if now >= self._asked_at + SLICE + PATIENCE:
                self._lose("TimeoutError")  # nobody is at the other end any more
            return inf
        pops = now >= pops_at
        commands = [_MARK] * (now >= self._mark_at) + [_POP] * pops
        if now >= self._connect_at and commands:
            self._ask(commands, now, pops=pops)
        return inf if pops else pops_at

    def rang(self) -> bool:
        """Whether the loop has to look, from the first webhook to the last: a ring or a message has come, or the
        connection that could have brought one was lost."""
        rang = False
        try:
            while self._connection is not None and self._connection.can_read(0):
                answer = self._connection.read_response()
                if isinstance(answer, list):
                    rang = True
                    self._took(answer)
                if not isinstance(answer, bytes):  # that is only the mark's
                    self._asked_at, self._told = None, False
        except Exception as error:  # noqa: BLE001 - each error is an outage
            self._lose(type(error).__name__)
            return True
        return rang

    def close(self) -> None:
        """The loop ends, and tells so."""
        self._disconnect()
        self._waker.leave()

    def _ask(self, commands: Sequence[Command], now: float, *, pops: bool) -> None:
        try:
            if self._connection is None:
                self._connection = self._waker.connection()
                self._connection.connect()
            self._say(commands)
        except Exception as error:  # noqa: BLE001 - each error is an outage
            self._lose(type(error).__name__, took=monotonic() - now)
            return
        if now >= self._mark_at:
            self._mark_at = now + SLICE
        if pops:
            self._asked_at = now

    def _took(self, answer: Sequence[bytes]) -> None:
        if answer[0].decode() == QUEUES[DELIVER]:
            # Its sender relies on the flag until a loop has begun: that is now, and the loop will look after this.
            self._say([_CLEAR_FLAG])
            self._connection.read_response()

    def _say(self, commands: Sequence[Command]) -> None:
        self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)

    def _lose(self, error: str, took: float = 0.0) -> None:
        if not self._told:
            log.warning("the broker does not answer: the loop looks by itself", error=error)
            self._told = True
        self._disconnect()
        self._connect_at = monotonic() + max(PAUSE, 5 * took)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
        self._connection, self._asked_at, self._mark_at = None, None, 0.0
