"""Counts what workers have put aside because they could not read it, and what waits for a newer version."""

import structlog
from sqlalchemy import Engine, text

from dispatcher.webhooks.contract import FORMAT

log = structlog.get_logger("dispatcher.upkeep")

_COUNT = text("""
SELECT count(*) FILTER (WHERE quarantined_at IS NOT NULL) AS webhooks_quarantined,
       count(*) FILTER (WHERE format > :format) AS webhooks_of_newer_format,
       (SELECT count(*) FROM dispatcher.notices WHERE quarantined_at IS NOT NULL) AS notices_quarantined
FROM dispatcher.webhooks WHERE deleted_at IS NULL
""")


def count_unreadable(engine: Engine) -> dict[str, int]:
    """How many webhooks and notices are quarantined, and how many webhooks a newer version wrote in a format of its
    own. Each run says so in the log while there are any."""
    with engine.connect() as connection:
        counts = dict(connection.execute(_COUNT, {"format": FORMAT}).mappings().one())
    if any(counts.values()):
        log.warning("not read by this version", **counts)
    return counts
