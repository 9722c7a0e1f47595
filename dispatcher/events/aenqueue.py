"""`enqueue` for asyncio."""

import asyncio
from datetime import datetime

from dispatcher.events.async_groups import async_groups_of
from dispatcher.events.event import Accepted, Data, Event, Refused
from dispatcher.events.nearest import with_nearest_types
from dispatcher.events.storing import CheckedEvent, Receipt, checked
from dispatcher.producer import Producer, default_producer


async def aenqueue(
    type: str,  # noqa: A002 - the field's name, and the first argument
    data: Data,
    *,
    account: str,
    app: str | None = None,
    subject: str | None = None,
    idempotency_key: str | None = None,
    occurred_at: datetime | None = None,
    expires_at: datetime | None = None,
    traceparent: str | None = None,
    producer: Producer | None = None,
) -> Accepted:
    """As `enqueue`, without blocking the event loop: coroutines that call it at once share a statement and a commit.
    There is no `session`. If it is cancelled, the event may be stored or not."""
    event = Event(
        type=type,
        data=data,
        account=account,
        app=app,
        subject=subject,
        idempotency_key=idempotency_key,
        occurred_at=occurred_at,
        expires_at=expires_at,
        traceparent=traceparent,
    )
    return await enqueue_checked(checked(event), producer or default_producer())


async def enqueue_checked(item: CheckedEvent, producer: Producer) -> Accepted:
    """The same for an event that was checked before."""
    receipt: Receipt = await async_groups_of(producer).store(item)
    if isinstance(receipt, Refused):
        raise receipt.error
    if receipt.deliveries or receipt.repeated:
        return receipt
    (receipt,) = await asyncio.to_thread(with_nearest_types, [item.event], [receipt], producer)
    assert isinstance(receipt, Accepted)
    return receipt
