"""What an account may have and do: each quota with its unit and default, in this one place. Pure.

Quotas of a number of things hold for whoever makes them, that of mails for all that go out. The other quotas of a rate
hold for what comes over HTTP with a key of the account: never for an operator, nor for the platform's own `enqueue` in
Python or SQL.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TypeAlias

MOST = 10**15  # of anything: a floating-point number holds it exactly, as the broker needs
OFF = "off"  # no limit

_PAIR = re.compile(r"(?P<name>[a-z_]+) *= *(?P<value>[0-9]{1,16}|off)")


class Quota(StrEnum):
    """The name of each."""

    WEBHOOKS = "webhooks"
    KEYS = "keys"
    BULK_REDELIVERIES = "bulk_redeliveries"
    PORTAL_SESSIONS = "portal_sessions"
    STORED_BYTES = "stored_bytes"
    REQUESTS_IN_FLIGHT = "requests_in_flight"
    EVENTS_PER_SECOND = "events_per_second"
    EVENTS_PER_DAY = "events_per_day"
    READS_PER_MINUTE = "reads_per_minute"
    WRITES_PER_MINUTE = "writes_per_minute"
    URL_VERIFICATIONS_PER_HOUR = "url_verifications_per_hour"
    TEST_EVENTS_PER_MINUTE = "test_events_per_minute"
    MAILS_PER_HOUR = "mails_per_hour"


Limits: TypeAlias = Mapping[Quota, int | None]  # None: no limit


class Kind(NamedTuple):
    """What a quota limits. `unit` goes on after a number, `seconds` is the time in which a rate of requests allows
    that many; 0: it is none."""

    unit: str
    default: int | None
    seconds: int = 0


DAY = 24 * 60 * 60

KINDS: Mapping[Quota, Kind] = {
    Quota.WEBHOOKS: Kind("webhooks", 1_000),
    Quota.KEYS: Kind("API keys that are valid", 100),
    Quota.BULK_REDELIVERIES: Kind("bulk redeliveries under way", 10),
    Quota.PORTAL_SESSIONS: Kind("sessions in the portal, with the links that are not used yet", 1_000),
    Quota.STORED_BYTES: Kind("bytes stored for events", 100_000_000_000),
    Quota.REQUESTS_IN_FLIGHT: Kind("requests in flight to receivers", None),  # fair claims share the slots
    Quota.EVENTS_PER_SECOND: Kind("events a second over HTTP", 1_000, 1),
    Quota.EVENTS_PER_DAY: Kind("events a day (UTC) over HTTP", 20_000_000, DAY),
    Quota.READS_PER_MINUTE: Kind("API requests a minute that read", 6_000, 60),
    Quota.WRITES_PER_MINUTE: Kind("API requests a minute that change something", 1_200, 60),
    Quota.URL_VERIFICATIONS_PER_HOUR: Kind("URL verifications an hour", 600, 60 * 60),
    Quota.TEST_EVENTS_PER_MINUTE: Kind("test events a minute", 60, 60),
    Quota.MAILS_PER_HOUR: Kind("mails an hour about its webhooks", 100),  # counted where they are sent
}
DEFAULTS: Limits = {quota: kind.default for quota, kind in KINDS.items()}


def limit_of(quota: Quota, own: object, defaults: Limits) -> int | None:
    """What an account with these own limits, as they are stored, may have or do. What is stored and is no limit counts
    as if it was not there: a row that a newer version or a person wrote must not stop the account."""
    if isinstance(own, Mapping) and quota in own:
        value = own[quota]
        if value is None or is_limit(value):
            assert value is None or isinstance(value, int)
            return value
    return defaults[quota]


def stored_limit_reached(stored: int | None, own: object, defaults: Limits) -> int | None:
    """The limit of an account that has stored as many bytes as it may; None if there is room."""
    limit = limit_of(Quota.STORED_BYTES, own, defaults) if stored else None
    return limit if limit is not None and stored is not None and stored >= limit else None


def limits_of(own: object, defaults: Limits) -> dict[Quota, int | None]:
    """All of them."""
    return {quota: limit_of(quota, own, defaults) for quota in Quota}


def is_limit(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST


def read_limits(text: str) -> dict[Quota, int | None]:
    """Limits as in `webhooks=5000,events_per_day=off`. Raises ValueError."""
    wanted = f"must be a list like webhooks=5000, events_per_day={OFF}"
    found: dict[Quota, int | None] = {}
    for place, part in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
        pair = _PAIR.fullmatch(part)
        if pair is None:
            raise ValueError(f"{wanted}: entry {place} is no NAME=NUMBER or NAME={OFF}")
        if pair["name"] not in KINDS:
            raise ValueError(f"{wanted}: entry {place} is no limit that exists: {', '.join(Quota)}")
        quota, value = Quota(pair["name"]), None if pair["value"] == OFF else int(pair["value"])
        if quota in found:
            raise ValueError(f"{wanted}: entry {place} names {quota} a second time")
        if value is not None and not is_limit(value):
            raise ValueError(f"{wanted}: entry {place} is not from 1 to {MOST:,}, or {OFF}")
        found[quota] = value
    return found


def too_many(quota: Quota, limit: int) -> str:
    """What somebody is told who wants one more, with the name and the value of the limit."""
    kind = KINDS[quota]
    if kind.seconds:
        return f"the account may make {limit:,} {kind.unit} (its limit `{quota}`), over all its keys"
    return f"the account may have {limit:,} {kind.unit} (its limit `{quota}`), and has as many"
