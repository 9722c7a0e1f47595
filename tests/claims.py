"""A claim and a webhook for tests of code that uses them, without a database."""

from datetime import UTC, datetime
from uuid import uuid4

from dispatcher.signing.signer import Signer
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.secrets import WebhookSecrets
from schedules.catalog import DEFAULT
from workers.callbacks.targets import Target
from workers.claims.claims import Claim

CLAIM = Claim(
    delivery_id=str(uuid4()),
    account_no=1,
    webhook_id=str(uuid4()),
    webhook_version=1,
    number=1,
    schedule_step=0,
    batch_limit=None,
    failing=False,
    trial=False,
    event_id=str(uuid4()),
    event_type="t",
    app=None,
    expires_at=None,
    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    data=b"{}",
    claimed_at=datetime(2026, 1, 1, tzinfo=UTC),
)

TARGET = Target(
    id=CLAIM.webhook_id,
    version=1,
    account="acme",
    account_id="018f0000-0000-7000-8000-00000000ac3e",
    url="http://receiver.example/",
    url_masked="http://receiver.example/",
    destination=1,
    contract=DeliveryContract(),
    authorization=None,
    client_credentials=None,
    headers=(),
    signer=Signer(WebhookSecrets(), DeliveryContract()),
    schedule=DEFAULT,
    has_contact=False,
)
