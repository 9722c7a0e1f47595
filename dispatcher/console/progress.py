"""How far bulk redeliveries are, as pages show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dispatcher.console.view import View
from dispatcher.db.models import Account, BulkRedelivery, Webhook
from dispatcher.deliveries.bulk_redelivery import selection_of, skipped
from dispatcher.deliveries.selection import Selection
from dispatcher.webhooks.finding import some
from dispatcher.webhooks.store import Webhooks

__all__ = ["Account", "Progress", "Webhook", "lines_of"]

_SURE_AFTER = 5.0  # seconds: before, what was sent says little about the pace


@dataclass(frozen=True, slots=True)
class Progress:
    """A bulk redelivery at a moment. `webhook` is None if it is not for one, or for one that is deleted."""

    ordered: BulkRedelivery
    owner: Account
    webhook: Webhook | None
    now: datetime

    @property
    def selection(self) -> Selection:
        return selection_of(self.ordered)

    @property
    def state(self) -> str:
        """As chips show it."""
        if self.ordered.cancelled_at is not None:
            return "cancelled"
        if self.ordered.finished_at is not None:
            return "finished"
        return "suspended" if self.owner.suspended_at is not None else "running"

    @property
    def is_open(self) -> bool:
        return self.state in {"running", "suspended"}

    @property
    def ended_at(self) -> datetime | None:
        return self.ordered.cancelled_at or self.ordered.finished_at

    @property
    def is_counted(self) -> bool:
        """Whether `matched` is all, and not only what was counted so far."""
        return not self.ordered.counting

    @property
    def skipped(self) -> int | None:
        return skipped(self.ordered)

    @property
    def took(self) -> timedelta:
        """Since it was ordered, until it ended."""
        return max((self.ended_at or self.now) - self.ordered.created_at, timedelta(0))

    @property
    def pace(self) -> float:
        """Deliveries a second so far."""
        seconds = self.took.total_seconds()
        return min(self.ordered.redelivered / seconds, self.ordered.per_second) if seconds else 0.0

    @property
    def left(self) -> timedelta | None:
        """How long what is left takes at the pace so far. None: that cannot be said."""
        rest = self.ordered.matched - self.ordered.redelivered
        is_sure = self.took.total_seconds() >= _SURE_AFTER
        pace = self.pace if is_sure else self.ordered.per_second
        if self.state != "running" or self.ordered.counting or not pace or rest <= 0:
            return None
        return timedelta(seconds=rest / pace)


def lines_of(session: Session, view: View, found: Sequence[BulkRedelivery]) -> list[Progress]:
    """Bulk redeliveries as they are now."""
    webhooks = Webhooks(session, view.installation)
    named = some(session, {one.webhook_id for one in found if one.webhook_id is not None}) if found else {}
    owners = webhooks.owners(found) if found else {}
    now = view.installation.clock()
    return [
        Progress(one, owners[one.account_id], named.get(one.webhook_id) if one.webhook_id is not None else None, now)
        for one in found
    ]
