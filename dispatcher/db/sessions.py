"""The tables of those who look with a browser: sessions, and the links that begin one.

Without foreign keys: versions that do not know these tables remove an account with its keys all the same.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from dispatcher.db.schema import Base

_KIND = "kind IN ('console', 'portal')"


class BrowserSession(Base):
    """Somebody who is logged in: an operator in the console, or an account's customer in the portal. It ends with the
    key that it was begun with; without one, a link of the command line began it."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint(_KIND, name="kind"),
        Index("sessions_account_id_id_idx", "account_id", "id"),
        Index("sessions_key_id_id_idx", "key_id", "id"),
        Index("sessions_expires_at_idx", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    secret_sha256: Mapped[bytes] = mapped_column(unique=True)
    kind: Mapped[str]
    key_id: Mapped[UUID | None]
    account_id: Mapped[UUID | None]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    user_label: Mapped[str | None]  # the platform's own id of its user
    embed_origin: Mapped[str | None]
    return_url: Mapped[str | None]
    theme: Mapped[str | None]
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]  # to the minute
    proved_at: Mapped[datetime | None]  # when they last showed the key again
    expires_at: Mapped[datetime]  # brought forward when it is ended


class PortalLink(Base):
    """A link that begins one session: to the portal, or (by the command line) to the console."""

    __tablename__ = "portal_links"
    __table_args__ = (
        CheckConstraint(_KIND, name="kind"),
        Index("portal_links_account_id_id_idx", "account_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    secret_sha256: Mapped[bytes]
    kind: Mapped[str]
    key_id: Mapped[UUID | None]
    account_id: Mapped[UUID | None]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    user_label: Mapped[str | None]
    embed_origin: Mapped[str | None]
    return_url: Mapped[str | None]
    theme: Mapped[str | None]
    path: Mapped[str]  # below /console or /portal, where the session begins
    session_seconds: Mapped[int]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
