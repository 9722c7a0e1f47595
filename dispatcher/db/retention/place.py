"""The table of how far retention has come."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from dispatcher.db.schema import Base


class RetentionPlace(Base):
    """How far retention has come with one kind of rows."""

    __tablename__ = "retention"

    kind: Mapped[str] = mapped_column(primary_key=True)
    reached: Mapped[UUID]  # the last id that was looked at
    began_at: Mapped[datetime]  # when it began at the first one
