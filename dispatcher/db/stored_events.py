"""The table of what stored events and requests take."""

from uuid import UUID

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from dispatcher.db.schema import Base


class StoredEvents(Base):
    """What the events of one account and one week take, and the requests of that week."""

    __tablename__ = "stored_events"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    week: Mapped[int] = mapped_column(primary_key=True)  # since 1970-01-05, by the events' ids
    events: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
