"""Bulk redeliveries, replays among them: count, order, show and cancel them. `workers/maintenance` carries them out."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.accounts.limits import lock_for_one_more, refuse_one_more
from dispatcher.db.models import Account, BulkRedelivery, Webhook
from dispatcher.db.pages import along
from dispatcher.deliveries.missing import Missing, count_missing
from dispatcher.deliveries.opening import refuse_unsendable
from dispatcher.deliveries.selection import MISSING, START, Counted, Place, Selection, count_some
from dispatcher.errors import InvalidRedelivery, NotFound, WrongState
from dispatcher.event_types import RULE, is_event_type
from dispatcher.ids import new_id
from dispatcher.settings.quotas import DEFAULTS, Limits, Quota
from dispatcher.states import CLOSED, Reason, State

PER_SECOND, MAX_PER_SECOND = 100, 1_000

_FIRST_SECOND = timedelta(seconds=1)  # its share may be redelivered at once


def count(session: Session, account: Account, selection: Selection) -> Counted:
    """How many deliveries could be redelivered now, of the first COUNTED. Raises InvalidRedelivery, and NotFound for
    the webhook. Of a replay: how many events would be sent, of the first COUNTED; it also raises what
    `refuse_unsendable` raises."""
    _check(session, account, selection)
    return _count(session, account.id, selection)


def order(
    session: Session,
    account: Account,
    selection: Selection,
    *,
    by: Actor,
    per_second: int = PER_SECOND,
    defaults: Limits = DEFAULTS,
) -> BulkRedelivery:
    """Starts a bulk redelivery of what is closed now, `per_second` deliveries a second. If there is more than `count`
    counts, workers count on. The caller commits, then wakes `REDELIVER`. `defaults` are the installation's limits.
    Raises as `count` does, and AtQuota if the account has too many open ones."""
    if not 1 <= per_second <= MAX_PER_SECOND:
        raise InvalidRedelivery("per_second", f"must be 1 to {MAX_PER_SECOND}")
    refuse_one_more(session, account, Quota.BULK_REDELIVERIES, defaults)  # before the work of counting
    counted = count(session, account, selection)
    lock_for_one_more(session, account)
    refuse_one_more(session, account, Quota.BULK_REDELIVERIES, defaults)
    ordered = BulkRedelivery(
        id=new_id(),
        account_id=account.id,
        webhook_id=selection.webhook,
        event_type=selection.event_type,
        states=selection.stored_states,
        reason=selection.reason,
        since=selection.since,
        until=selection.until,
        per_second=per_second,
        matched=0,
        used_until=func.now() - _FIRST_SECOND,
    )
    _add_counted(ordered, counted)
    session.add(ordered)
    session.flush()
    session.refresh(ordered)
    matched = {"matched": counted.matched, "matched_complete": counted.is_complete}
    detail = _audit_detail(selection) | {"per_second": per_second} | matched
    audit.write(session, by, Action.REDELIVERY_ORDERED, ordered.id, account=account.id, detail=detail)
    return ordered


def get(session: Session, account: Account, identifier: UUID) -> BulkRedelivery:
    """Raises NotFound."""
    found = session.get(BulkRedelivery, identifier)
    if found is None or found.account_id != account.id:
        raise NotFound("bulk redelivery", identifier)
    return found


def list_of(
    session: Session, account: Account | None, *, is_open: bool = False, before: UUID | None = None, limit: int
) -> Sequence[BulkRedelivery]:
    """The account's bulk redeliveries (None: all accounts'), newest first; `before` is the last id of the previous
    page. `is_open`: without those that have ended."""
    columns: dict[Any, object] = {BulkRedelivery.account_id: account.id} if account is not None else {}
    wanted, _, order = along(columns, BulkRedelivery.id, before=before)
    wanted = [*wanted, *(OPEN if is_open else ())]
    return session.scalars(select(BulkRedelivery).where(*wanted).order_by(*order).limit(limit)).all()


def cancel(session: Session, account: Account, identifier: UUID, *, by: Actor) -> BulkRedelivery:
    """Stops it where it is; what was redelivered stays redelivered. Raises NotFound, or WrongState if it has ended."""
    wanted = BulkRedelivery.id == identifier, BulkRedelivery.account_id == account.id, *OPEN
    cancelled = session.scalars(
        update(BulkRedelivery).where(*wanted).values(cancelled_at=func.now()).returning(BulkRedelivery)
    ).first()
    if cancelled is None:
        ended = get(session, account, identifier)
        raise WrongState(f"the bulk redelivery is {'finished' if ended.finished_at else 'cancelled'} already")
    detail = {
        "matched": cancelled.matched,
        "matched_complete": not cancelled.counting,
        "redelivered": cancelled.redelivered,
    }
    audit.write(session, by, Action.REDELIVERY_CANCELLED, identifier, account=account.id, detail=detail)
    return cancelled


def count_on(session: Session, ordered: BulkRedelivery) -> None:
    """Counts some more of what matched, if that is not complete."""
    if ordered.counting and ordered.webhook_counted is not None:
        place = Place(ordered.webhook_counted, ordered.delivery_counted)
        selection = selection_of(ordered)
        counted = _count(session, ordered.account_id, selection, after=place, closed_by=ordered.created_at)
        _add_counted(ordered, counted)


def _count(
    session: Session,
    account: UUID,
    selection: Selection,
    *,
    after: Place = START,
    closed_by: datetime | None = None,
) -> Counted:
    if not selection.missing:
        return count_some(session, account, selection, after=after, closed_by=closed_by)
    moment = closed_by or session.scalars(select(func.now())).one()
    return count_missing(session, Missing(account=account, selection=selection, moment=moment), after=after)


def _add_counted(ordered: BulkRedelivery, counted: Counted) -> None:
    ordered.matched = ordered.matched + counted.matched
    ordered.counting = not counted.is_complete
    ordered.webhook_counted, ordered.delivery_counted = counted.reached or (None, None)


def selection_of(ordered: BulkRedelivery) -> Selection:
    """The selection that it was ordered for."""
    return Selection(
        webhook=ordered.webhook_id,
        event_type=ordered.event_type,
        states=[State(state) for state in ordered.states if state != MISSING],
        missing=MISSING in ordered.states,
        reason=Reason(ordered.reason) if ordered.reason is not None else None,
        since=ordered.since,
        until=ordered.until,
    )


def skipped(ordered: BulkRedelivery) -> int | None:
    """How many matched deliveries were not redelivered, because a person or a deletion came first. None until it is
    finished."""
    return max(0, ordered.matched - ordered.redelivered) if ordered.finished_at is not None else None


OPEN = BulkRedelivery.finished_at.is_(None), BulkRedelivery.cancelled_at.is_(None)


def _audit_detail(selection: Selection) -> dict[str, object]:
    return {
        "webhook": str(selection.webhook) if selection.webhook is not None else None,
        "event_type": selection.event_type,
        "states": selection.stored_states,
        "reason": selection.reason,
        "since": selection.since.isoformat() if selection.since is not None else None,
        "until": selection.until.isoformat() if selection.until is not None else None,
    }


def _check(session: Session, account: Account, selection: Selection) -> None:
    if not selection.states or not CLOSED.issuperset(selection.states):
        raise InvalidRedelivery("states", "must be some of delivered, discarded and cancelled")
    if selection.event_type is not None and not is_event_type(selection.event_type):
        raise InvalidRedelivery("event_type", RULE)
    if selection.webhook is not None:
        webhook = session.get(Webhook, selection.webhook)
        if webhook is None or webhook.account_id != account.id or webhook.deleted_at is not None:
            raise NotFound("webhook", selection.webhook)
        if selection.missing:
            refuse_unsendable(account, webhook)
