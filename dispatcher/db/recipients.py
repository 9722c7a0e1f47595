"""The tables of those whom mails go to: what they have said, and what they got."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from dispatcher.db.schema import Base

_TIMES = ARRAY(TIMESTAMP(timezone=True))


class Recipient(Base):
    """A mail address that webhooks of an account name as their contact, or have named: what was said about it, and what
    it got. Only mails about this account follow from it. Without a foreign key: making one would lock the accounts."""

    __tablename__ = "recipients"
    __table_args__ = (
        UniqueConstraint("account_id", "address"),
        Index("recipients_account_id_id_idx", "account_id", "id"),
        Index("recipients_account_id_mailbox_idx", "account_id", "mailbox"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID]
    address: Mapped[str]  # in lower case
    mailbox: Mapped[str]  # as in `contacts`: whoever unsubscribes does so for every spelling of it
    confirmed_at: Mapped[datetime | None]
    confirmed_by: Mapped[str | None]  # an actor in words
    unsubscribed_at: Mapped[datetime | None]
    unsubscribed_by: Mapped[str | None]
    sent_count: Mapped[int] = mapped_column(server_default=text("0"))
    last_sent_at: Mapped[datetime | None]


class Contact(Base):
    """A mailbox that notices go to, from all webhooks that name it: its limits are counted here."""

    __tablename__ = "contacts"

    mailbox: Mapped[str] = mapped_column(primary_key=True)
    sent_at: Mapped[list[datetime]] = mapped_column(_TIMES, server_default=text("'{}'"))  # of each mail, an hour back
    outdated: Mapped[int] = mapped_column(server_default=text("0"))  # held back until too old, since the last mail
    unconfirmed_sent_at: Mapped[datetime | None]  # of the last mail for an account that nobody has confirmed
    declined_at: Mapped[datetime | None]  # its owner wants no mail for accounts that they have not confirmed


class MailBudget(Base):
    """When mails were sent in the last hour, to contacts that are confirmed and to others: for an account, and (with
    the installation's id) for all."""

    __tablename__ = "mail_budgets"

    owner: Mapped[UUID] = mapped_column(primary_key=True)
    sent_at: Mapped[list[datetime]] = mapped_column(_TIMES, server_default=text("'{}'"))
    unconfirmed_sent_at: Mapped[list[datetime]] = mapped_column(_TIMES, server_default=text("'{}'"))
