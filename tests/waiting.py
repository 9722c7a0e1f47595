"""For tests of two concurrent actions: waits until the second one is blocked by the first."""

import time

from sqlalchemy import Engine

from tests.factories import rows


def wait_for_a_lock(database: Engine) -> None:
    """Returns once a statement waits for a lock in the database."""
    wait_for_rows(database, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")


def wait_for_rows(database: Engine, statement: str) -> None:
    """Returns once the statement returns a row."""
    until = time.monotonic() + 10
    while not rows(database, statement):
        assert time.monotonic() < until, f"nothing is returned by {statement}"
        time.sleep(0.01)
