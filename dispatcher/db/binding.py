"""How far a database has come with binding its secrets to their rows. Pure.

Versions before migration 0022 cannot open a bound secret. So a database that they have used goes through all steps,
and a new one is at the last as soon as it has a secret.
"""

from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

BINDS_FROM = "0022"  # the first migration whose version opens bound secrets
# Since the last heartbeat of an older version. Meanwhile it can come back; 0.2.0 makes no heartbeats at all.
WAY_BACK = timedelta(days=7)
SETTLES = timedelta(hours=1)  # for this long after the beginning, what still writes unbound secrets learns of it


class Binding(IntEnum):
    """The steps, which only go forward."""

    NOT_YET = 0  # an older version may still read: secrets are written unbound
    BEGUN = 1  # they are written bound, and upkeep binds the others
    DONE = 2  # one that is not bound is refused


# The beginning excludes older versions, in the same moment. Upkeep binds the digest key last, so that marks the end:
# nobody without an encryption key can make such a one.
BINDING = rf"""
CASE WHEN substring(digest_key FOR 1) = CAST('\x01' AS bytea) THEN {Binding.DONE:d}
     WHEN oldest_revision >= '{BINDS_FROM}' THEN {Binding.BEGUN:d} ELSE {Binding.NOT_YET:d} END
"""


class Progress(NamedTuple):
    """`bound_from`: when binding is to begin, then when it began. `is_older_alive`: an older version makes
    heartbeats."""

    binding: Binding
    bound_from: datetime | None
    is_older_alive: bool


def planned(progress: Progress, now: datetime) -> datetime | None:
    """When binding is to begin; None while that is not known."""
    return None if progress.is_older_alive else progress.bound_from or now + WAY_BACK


def is_due(progress: Progress, now: datetime) -> bool:
    """Whether it is to begin."""
    return not progress.is_older_alive and progress.bound_from is not None and progress.bound_from <= now


def has_settled(progress: Progress, now: datetime) -> bool:
    """Whether nobody writes unbound secrets any more."""
    return progress.bound_from is not None and progress.bound_from + SETTLES <= now
