"""A claim for tests of what is done with one, without a database."""

from datetime import UTC, datetime
from uuid import uuid4

from workers.claims import Claim

CLAIM = Claim(
    delivery_id=str(uuid4()),
    webhook_id=str(uuid4()),
    webhook_version=1,
    number=1,
    schedule_step=0,
    batch_limit=None,
    failing=False,
    probe=False,
    event_id=str(uuid4()),
    event_type="t",
    app=None,
    expires_at=None,
    data=b"{}",
    claimed_at=datetime(2026, 1, 1, tzinfo=UTC),
)
