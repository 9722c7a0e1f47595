"""The limits of an account: its own ones, set by an operator, and what it has of what a quota counts."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ScalarSelect, Select, func, literal_column, or_, select, union_all
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account, ApiKey, BrowserSession, BulkRedelivery, PortalLink, Webhook
from dispatcher.errors import AccountAtLimit, AtQuota
from dispatcher.settings.quotas import Limits, Quota, is_limit, limit_of, too_many


def own_limits(account: Account) -> dict[Quota, int | None]:
    """Those that were set for this account and that this version knows."""
    stored = account.limits or {}
    return {
        quota: stored[quota]
        for quota in Quota
        if quota in stored and (stored[quota] is None or is_limit(stored[quota]))
    }


def set_limits(
    session: Session,
    account: Account,
    *,
    by: Actor,
    new: Limits | None = None,
    changed: Limits | None = None,
    dropped: frozenset[Quota] = frozenset(),
) -> None:
    """Sets the account's own limits to `new`; or those in `changed`, and removes the `dropped` ones, so that the
    installation's hold. None is no limit. What it has above a new limit, it keeps."""
    lock_for_one_more(session, account)
    before = own_limits(account)
    if new is None:
        new = {quota: limit for quota, limit in {**before, **(changed or {})}.items() if quota not in dropped}
    if dict(new) != before:
        account.limits = {str(quota): limit for quota, limit in new.items()} or None
        session.flush()
        differ = sorted(
            quota for quota in Quota if (quota in before, before.get(quota)) != (quota in new, new.get(quota))
        )
        detail = {"changed": {quota: {"old": _noted(before, quota), "new": _noted(new, quota)} for quota in differ}}
        audit.write(session, by, Action.ACCOUNT_LIMITED, account.id, account=account.id, detail=detail)


def lock_for_one_more(session: Session, account: Account) -> None:
    """Reads the account's row anew and keeps it until the transaction ends: of two who make one more, the second then
    counts the first one's. What only refers to the row goes on meanwhile."""
    session.refresh(account, with_for_update={"key_share": True})


def refuse_one_more(session: Session, account: Account, quota: Quota, defaults: Limits) -> None:
    """Raises AtQuota if the account has as many as it may, and AccountAtLimit if it has made too many of late. The
    caller has locked its row, or asks again later."""
    limit = limit_of(quota, account.limits, defaults)
    if limit is None:
        return
    table, times, noun = _MADE_IN_A_DAY.get(quota, (None, 0, ""))
    most = max(limit * times, _LEAST_IN_A_DAY)
    counts = [_number_of(_COUNTED[quota](account.id), limit)]
    if table is not None:
        counts.append(_number_of(select(table.id).where(table.account_id == account.id, table.id >= _YESTERDAY), most))
    has, *made = session.execute(select(*counts)).one()
    if has >= limit:
        raise AtQuota(too_many(quota, limit))
    if made and made[0] >= most:
        raise AccountAtLimit(
            f"the account may make {most:,} {noun} in 24 hours, also by its limit `{quota}`, and has made as many"
        )


def numbers_of(account: Account, most: int) -> dict[Quota, ScalarSelect[int]]:
    """How many it has, of what each such quota counts: no more than `most` are looked at."""
    return {quota: _number_of(found(account.id), most) for quota, found in _COUNTED.items()}


def _number_of(found: Select[Any], most: int) -> ScalarSelect[int]:
    return select(func.count()).select_from(found.limit(most).subquery()).scalar_subquery()


def _webhooks(account: UUID) -> Select[Any]:
    return select(Webhook.id).where(Webhook.account_id == account, Webhook.deleted_at.is_(None))


def _keys(account: UUID) -> Select[Any]:
    unexpired = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
    return select(ApiKey.id).where(ApiKey.account_id == account, ApiKey.revoked_at.is_(None), unexpired)


def _bulk_redeliveries(account: UUID) -> Select[Any]:
    under_way = BulkRedelivery.finished_at.is_(None), BulkRedelivery.cancelled_at.is_(None)
    return select(BulkRedelivery.id).where(BulkRedelivery.account_id == account, *under_way)


def _portal_sessions(account: UUID) -> Select[Any]:
    """A link becomes a session: so only who makes a link has to be counted."""
    sessions = select(BrowserSession.id).where(
        BrowserSession.account_id == account, BrowserSession.expires_at > func.now()
    )
    links = select(PortalLink.id).where(
        PortalLink.account_id == account, PortalLink.used_at.is_(None), PortalLink.expires_at > func.now()
    )
    return select(union_all(sessions, links).subquery().c.id)


_COUNTED: Mapping[Quota, Any] = {
    Quota.WEBHOOKS: _webhooks,
    Quota.KEYS: _keys,
    Quota.BULK_REDELIVERIES: _bulk_redeliveries,
    Quota.PORTAL_SESSIONS: _portal_sessions,
}

# Of these a row stays for a day at least, also of one that was deleted or has ended: they cannot be made and ended
# without end.
_MADE_IN_A_DAY: Mapping[Quota, tuple[type[Webhook | BulkRedelivery | PortalLink], int, str]] = {
    Quota.WEBHOOKS: (Webhook, 10, "webhooks"),
    Quota.BULK_REDELIVERIES: (BulkRedelivery, 100, "bulk redeliveries"),
    Quota.PORTAL_SESSIONS: (PortalLink, 100, "links to the portal"),
}
_LEAST_IN_A_DAY = 1_000
# The first id of 24 hours ago, by the database's clock.
_YESTERDAY: Any = literal_column(
    "CAST(lpad(to_hex(CAST(extract(epoch FROM now() - interval '24 hours') * 1000 AS bigint)), 12, '0')"
    " || repeat('0', 20) AS uuid)"
)


def _noted(limits: Limits, quota: Quota) -> object:
    if quota not in limits:
        return "default"
    limit = limits[quota]
    return "off" if limit is None else limit
