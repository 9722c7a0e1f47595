"""UUIDv7 identifiers and the times in them: the partitions of the big tables are ranges of ids."""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

_VARIANT = 0b10 << 62


def new_id() -> UUID:
    """A new UUIDv7 (RFC 9562, 6.2 method 3): 48 bits of Unix milliseconds, 12 bits of their fraction, then random
    bits. So ids that one process makes in sequence sort in that order."""
    return UUID(int=_new_bits())


def new_id_text() -> str:
    """A new id as text, for callers that create thousands and need nothing but the text."""
    digits = f"{_new_bits():032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7-shaped id of a moment (aware): a partition boundary. Before 1970 there are no ids, so it is
    the smallest id of all."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def time_of(identifier: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def _new_bits() -> int:
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    clock = milliseconds << 16 | 0x7 << 12 | nanoseconds * 4096 // 1_000_000
    return clock << 64 | _VARIANT | int.from_bytes(os.urandom(8)) >> 2
