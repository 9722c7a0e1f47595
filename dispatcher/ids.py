"""UUIDv7 identifiers, and their place in time: the partitions of the big tables are ranges of them."""

import os
import time
from datetime import UTC, datetime
from uuid import UUID

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_MASK = ~(0xF << 76 | 0b11 << 62)


def new_id() -> UUID:
    """A fresh UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=_with_marks(milliseconds << 80 | int.from_bytes(os.urandom(10))))


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7-shaped id of a moment: a partition boundary (`moment` must be aware)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def time_of(identifier: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def _with_marks(bits: int) -> int:
    return bits & _RANDOM_MASK | _VERSION | _VARIANT
