"""The tables of what came of requests, as upkeep counts it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from dispatcher.db.schema import Base


class Pulse(Base):
    """How many requests had one outcome in one span of time: those of a webhook, an account or the installation."""

    __tablename__ = "pulses"
    __table_args__ = (Index("pulses_span_starts_at_idx", "span", "starts_at"),)

    span: Mapped[int] = mapped_column(SmallInteger, primary_key=True)  # minutes: 5, 60 or 1440
    of_id: Mapped[UUID] = mapped_column(primary_key=True)  # webhook, account, or all zeros: the installation
    starts_at: Mapped[datetime] = mapped_column(primary_key=True)  # by the time in the requests' ids
    outcome: Mapped[str] = mapped_column(primary_key=True)  # `ok`, or verdict and fingerprint: `rejected:http_404`
    requests: Mapped[int] = mapped_column(BigInteger)
    messages: Mapped[int] = mapped_column(BigInteger)  # that they carried
    millis: Mapped[int] = mapped_column(BigInteger)  # until all their answers were there
    # How many answers came within so many ms, and not within the bound before.
    t10: Mapped[int]
    t25: Mapped[int]
    t50: Mapped[int]
    t100: Mapped[int]
    t250: Mapped[int]
    t500: Mapped[int]
    t1000: Mapped[int]
    t2500: Mapped[int]
    t5000: Mapped[int]
    t10000: Mapped[int]
    t30000: Mapped[int]
    tmore: Mapped[int]


class PulseMark(Base):
    """How far a step of counting has come: `folded` (each request counted), `checked` (compared with the requests an
    hour later, and hours made) or `settled` (compared again after six hours, and days made)."""

    __tablename__ = "pulse_marks"

    name: Mapped[str] = mapped_column(primary_key=True)
    reached: Mapped[datetime]  # the first moment that it does not include
