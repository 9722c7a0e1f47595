"""UUIDv7 identifiers and the times in them: the partitions of the big tables are ranges of ids."""

import os
import struct
import time
from datetime import UTC, datetime
from uuid import UUID

_VARIANT = 0b10 << 62


def new_id(now: int | None = None) -> UUID:
    """A new UUIDv7 (RFC 9562, 6.2 method 3): 48 bits of Unix milliseconds, 12 bits of their fraction, then random
    bits. So ids that one process makes in sequence sort in that order. `now`: nanoseconds since 1970, where the time in
    the id matters: a clock has it (`dispatcher.db.clock`)."""
    return UUID(int=_new_bits(now))


def new_id_text(now: int | None = None) -> str:
    """A new id as text, for callers that create thousands and need nothing but the text."""
    digits = f"{_new_bits(now):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7-shaped id of a moment (aware): a partition boundary. Before 1970 there are no ids, so it is
    the smallest id of all."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def time_of(identifier: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def _new_bits(now: int | None) -> int:
    milliseconds, nanoseconds = divmod(time.time_ns() if now is None else now, 1_000_000)
    clock = milliseconds << 16 | 0x7 << 12 | nanoseconds * 4096 // 1_000_000
    return clock << 64 | _VARIANT | _random_bits()


# Random numbers for many ids at once: one system call for each would take longer than the rest. Two processes must not
# use the same ones, so a forked child begins with none.
_reserve: list[int] = []
os.register_at_fork(after_in_child=_reserve.clear)


def _random_bits() -> int:
    try:
        return _reserve.pop()  # by one thread alone
    except IndexError:
        numbers: tuple[int, ...] = struct.unpack("128Q", os.urandom(1024))
        _reserve.extend(number >> 2 for number in numbers[1:])
        return numbers[0] >> 2
