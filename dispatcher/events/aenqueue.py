"""`enqueue` for asyncio."""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dispatcher.events.async_groups import async_groups_of
from dispatcher.events.enqueue import either
from dispatcher.events.event import Accepted, Data, Event, Refused
from dispatcher.events.nearest import with_nearest_types
from dispatcher.events.storing import CheckedEvent, Receipt, checked, collectors
from dispatcher.producer import Producer, default_producer

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session


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
    connection: object = None,
    session: "AsyncSession | async_scoped_session[Any] | None" = None,
    producer: Producer | None = None,
) -> Accepted:
    """As `enqueue`, without blocking the event loop: coroutines that call it at once share a statement and a commit.
    If it is cancelled, the event may be stored or not.

    The arguments and errors are those of `enqueue`, but `connection` is an AsyncSession or AsyncConnection of
    SQLAlchemy (with psycopg or asyncpg), or an AsyncConnection of psycopg. After the commit of the latter call
    `await asyncio.to_thread(wake_workers)`, or workers look within 5 s. `session` is the same for an AsyncSession.
    """
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
    item, connection = checked(event), either(connection, session)
    if collectors:
        (receipt,) = collectors[-1].take([item], connection)
    elif connection is None:
        return await enqueue_checked(item, producer or default_producer())
    else:
        from dispatcher.events.in_transaction import store_in_async  # noqa: PLC0415 - only for those who need it

        receipt = await store_in_async(connection, item, producer or default_producer())
    if isinstance(receipt, Refused):
        raise receipt.error
    return receipt


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
