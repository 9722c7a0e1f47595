"""UUIDv7 identifiers, and their place in time: the partitions of the big tables are ranges of them."""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

_VARIANT = 0b10 << 62


def new_id() -> UUID:
    """A fresh UUIDv7 (RFC 9562, 6.2 method 3): 48 bits of Unix milliseconds, 12 bits of their fraction, then random
    bits. So ids that one process makes one after the other sort in that order."""
    return UUID(int=_new_bits())


def new_id_text() -> str:
    """A fresh id in its text form, for whoever needs thousands and no more than that."""
    digits = f"{_new_bits():032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7-shaped id of a moment: a partition boundary (`moment` must be aware). Before 1970 there are
    none, so it is the first of all."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def time_of(identifier: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def _new_bits() -> int:
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    clock = milliseconds << 16 | 0x7 << 12 | nanoseconds * 4096 // 1_000_000
    return clock << 64 | _VARIANT | int.from_bytes(os.urandom(8)) >> 2
