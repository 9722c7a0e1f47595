"""What an account has used of each of its limits."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from dispatcher.accounts.limits import count
from dispatcher.db.models import Account, Delivery, Installation
from dispatcher.ids import time_of
from dispatcher.settings.quotas import KINDS, Limits, Quota, limits_of
from dispatcher.states import State

_MAILS = text("""
SELECT count(*) FROM dispatcher.mail_budgets, unnest(sent_at) AS moment
WHERE owner = :account AND moment > now() - interval '1 hour'
""")

COUNTED = 100_000  # of each kind, at most


class Use(NamedTuple):
    """Of one limit: what is allowed (None: no limit) and what is used (None: not known at the moment). `counted_at`: as
    it was then; None: as it is now."""

    quota: Quota
    limit: int | None
    used: int | None
    counted_at: datetime | None = None

    @property
    def unit(self) -> str:
        return KINDS[self.quota].unit


def use_of(session: Session, account: Account, defaults: Limits, rates: Mapping[Quota, int]) -> list[Use]:
    """All of them. `rates` are what the broker says is used; of a rate that is not in it nothing is known."""
    limits = limits_of(account.limits, defaults)
    return list(_uses(session, account, limits, rates))


def _uses(session: Session, account: Account, limits: Limits, rates: Mapping[Quota, int]) -> Iterator[Use]:
    for quota, limit in limits.items():
        if KINDS[quota].seconds:
            yield Use(quota, limit, rates.get(quota))
        elif quota is Quota.STORED_BYTES:
            counted_to = session.scalar(select(Installation.stored_to))
            used = account.stored_bytes or 0 if counted_to is not None else None
            yield Use(quota, limit, used, time_of(counted_to) if counted_to is not None else None)
        elif quota is Quota.REQUESTS_IN_FLIGHT:
            yield Use(quota, limit, _in_flight(session, account))
        elif quota is Quota.MAILS_PER_HOUR:
            yield Use(quota, limit, session.scalar(_MAILS, {"account": account.id}) or 0)
        else:
            yield Use(quota, limit, count(session, account, quota, most=COUNTED))


def _in_flight(session: Session, account: Account) -> int:
    """Deliveries that are being attempted: found among all that are, which are as many as there are slots."""
    claimed = Delivery.state == State.CLAIMED, Delivery.account_no == account.number
    return session.scalars(select(func.count()).select_from(Delivery).where(*claimed)).one()
