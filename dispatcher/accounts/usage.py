"""What an account has used of each of its limits."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, ScalarSelect, func, select, text
from sqlalchemy.orm import Session

from dispatcher.accounts.limits import numbers_of
from dispatcher.db.models import Account, Delivery, Installation
from dispatcher.ids import time_of
from dispatcher.settings.quotas import KINDS, Limits, Quota, limits_of
from dispatcher.states import State

_MAILS = """
SELECT count(*) AS number FROM dispatcher.mail_budgets, unnest(sent_at) AS moment
WHERE owner = :account AND moment > now() - interval '1 hour'
"""

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
    """All of them. `rates` are what the broker says is used; of a rate that is not in it nothing is known. One
    statement."""
    numbers = numbers_of(account, COUNTED)
    counted = {**numbers, Quota.REQUESTS_IN_FLIGHT: _in_flight(account), Quota.MAILS_PER_HOUR: _mails(account)}
    stored_to = select(Installation.stored_to).scalar_subquery()
    *used, counted_to = session.execute(select(*counted.values(), stored_to)).one()
    known = {**rates, **dict(zip(counted, used, strict=True))}
    if counted_to is not None:
        known[Quota.STORED_BYTES] = account.stored_bytes or 0
    at = {Quota.STORED_BYTES: time_of(counted_to)} if counted_to is not None else {}
    limits = limits_of(account.limits, defaults)
    return [Use(quota, limit, known.get(quota), at.get(quota)) for quota, limit in limits.items()]


def _mails(account: Account) -> ScalarSelect[int]:
    return text(_MAILS).bindparams(account=account.id).columns(number=BigInteger).scalar_subquery()


def _in_flight(account: Account) -> ScalarSelect[int]:
    """Deliveries that are being attempted: found among all that are, which are as many as there are slots."""
    claimed = Delivery.state == State.CLAIMED, Delivery.account_no == account.number
    return select(func.count()).select_from(Delivery).where(*claimed).scalar_subquery()
