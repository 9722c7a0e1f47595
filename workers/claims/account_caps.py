"""How many requests in flight each account may have, in this process: its part of the account's limit."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from dispatcher.settings.quotas import Limits, Quota, limit_of
from workers.claims.concurrency import UNBOUNDED

_OWN = text(f"""
SELECT number, limits FROM dispatcher.accounts
WHERE limits IS NOT NULL AND jsonb_exists(limits, '{Quota.REQUESTS_IN_FLIGHT}')
""")  # noqa: S608 - composed of constants


def caps_of(connection: Connection, defaults: Limits, processes: int) -> tuple[int, dict[int, int]]:
    """The cap of all accounts, and by their numbers those of accounts with a limit of their own. So many processes
    deliver: each has its part, but one request at least."""

    def part(limit: int | None) -> int:
        return UNBOUNDED if limit is None else min(UNBOUNDED, max(1, limit // processes))

    def own() -> Iterator[tuple[int, int]]:
        for number, limits in connection.execute(_OWN):
            yield number, part(limit_of(Quota.REQUESTS_IN_FLIGHT, limits, defaults))

    return part(defaults[Quota.REQUESTS_IN_FLIGHT]), dict(own())
