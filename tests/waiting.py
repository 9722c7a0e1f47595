"""Two who are at one thing at once: to know that the second has come to where it must wait for the first."""

import time

from sqlalchemy import Engine

from tests.factories import rows


def wait_for_a_lock(database: Engine) -> None:
    """Returns once a statement of somebody waits for a lock in the database."""
    until = time.monotonic() + 10
    while not rows(database, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
        assert time.monotonic() < until, "nobody waits for a lock"
        time.sleep(0.01)
