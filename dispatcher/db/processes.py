"""The tables of processes and leases."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from dispatcher.db.schema import Base


class Process(Base):
    """A process of the engine, as it says itself in its heartbeats. Times are the database's."""

    __tablename__ = "processes"

    id: Mapped[UUID] = mapped_column(primary_key=True)  # made when the process begins
    kind: Mapped[str]  # api, deliver or maintenance
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    schema_from: Mapped[str]  # the oldest migration that it works with,
    schema_to: Mapped[str]  # and the newest that it knows
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]  # its last heartbeat
    doing: Mapped[str]  # at that moment
    # The steps of connecting to receivers that its host is to blame for (`dns`, `route`, `tls`), and since when.
    fault: Mapped[str | None]
    fault_since: Mapped[datetime | None]


class Lease(Base):
    """Which process does what only one should do, such as the sweep; and afterwards, when it is to be done again."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[UUID]  # the process that took it last
    until: Mapped[datetime]  # then anybody may take it
