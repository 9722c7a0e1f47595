"""The table of bulk redeliveries."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from dispatcher.db.schema import Base

_NOW = text("now()")


class BulkRedelivery(Base):
    """An order to redeliver what matches a filter, at a given rate. Only this row records its progress. With `missing`
    among its `states` it is a replay: it goes through events, whose ids then stand in place of those of deliveries."""

    __tablename__ = "redeliveries"
    __table_args__ = (
        Index("redeliveries_account_id_id_idx", "account_id", "id"),
        Index("redeliveries_open_idx", "id", postgresql_where=text("finished_at IS NULL AND cancelled_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("dispatcher.accounts.id"))
    webhook_id: Mapped[UUID | None] = mapped_column(ForeignKey("dispatcher.webhooks.id"))
    event_type: Mapped[str | None]
    states: Mapped[list[str]] = mapped_column(ARRAY(Text))
    reason: Mapped[str | None]
    since: Mapped[datetime | None]
    until: Mapped[datetime | None]
    per_second: Mapped[int]
    matched: Mapped[int] = mapped_column(BigInteger)  # when it was ordered, as far as they have been counted
    counting: Mapped[bool] = mapped_column(server_default=text("false"))  # there are more to count
    webhook_counted: Mapped[UUID | None]  # webhooks before it are counted
    delivery_counted: Mapped[UUID | None]  # at that webhook, deliveries up to it are counted
    redelivered: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    webhook_reached: Mapped[UUID | None]  # webhooks before it are done
    delivery_reached: Mapped[UUID | None]  # at that webhook, deliveries up to it are done
    # Begun since the last one that ended: what began one may have died of it.
    unended_steps: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    used_until: Mapped[datetime] = mapped_column(server_default=_NOW)  # its pace, as for a rate limit
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)  # deliveries that close later are left out
    finished_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
