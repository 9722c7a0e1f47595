"""Runs bulk redeliveries step by step: each at its pace, from the position that is stored in its row.

A step is one transaction with that row locked. What it opened and its new position are written together or not at all,
and only one worker at a time runs it. It reads and opens a bounded number of rows. That it begins is committed before:
an order whose steps kill their workers is behind all others, and ends after three.
"""

from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.orm import Session

from dispatcher.db.models import Account, BulkRedelivery, Delivery, Webhook
from dispatcher.db.outages import is_outage
from dispatcher.deliveries.bulk_redelivery import OPEN, count_on, selection_of
from dispatcher.deliveries.missing import Found, Missing, look_for_missing
from dispatcher.deliveries.opening import one_of, open_missing
from dispatcher.deliveries.redelivery import reopen
from dispatcher.deliveries.selection import UNSUCCESSFUL, Selection, in_range, selected
from dispatcher.producer import Clock
from dispatcher.settings.quotas import Limits, stored_limit_reached
from dispatcher.wake import REDELIVER, Waker
from schedules.pace import room, used_up
from schedules.timing import Timing

log = structlog.get_logger("dispatcher.redeliveries")

PIECE = 1_000  # rows read together
MAX_PIECES, MAX_LOOKED_AT = 100, 10_000  # in one step
RUN_SECONDS = 3  # a run ends before the next one begins
MOST_UNENDED = 3  # steps in a row whose process died

_NOWHERE = UUID(int=0)
_ID, _ACCOUNT, _USED_UNTIL = BulkRedelivery.id, BulkRedelivery.account_id, BulkRedelivery.used_until
_ROUND = func.row_number().over(partition_by=(_ACCOUNT, BulkRedelivery.unended_steps), order_by=(_USED_UNTIL, _ID))
_SERVED = func.max(_USED_UNTIL).over(partition_by=_ACCOUNT)
_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:order, 0))")


def continue_redeliveries(
    engine: Engine, waker: Waker, timing: Timing, clock: Clock, defaults: Limits
) -> dict[str, int]:
    """Runs one step of each open bulk redelivery, except those of accounts that are suspended or have stored as much as
    they may, for a bounded time: accounts take turns, and of those, and of the orders of each, the one that has waited
    longest comes first. `defaults` are the installation's limits. One that cannot be read is cancelled. A step that
    fails otherwise does not keep the others from theirs; its error is raised after them. While any is open, it sends a
    wake that calls it again within a second; the periodic task is for when that wake is lost. Returns how many it
    redelivered, and how many are open."""
    until = monotonic() + RUN_SECONDS
    with Session(engine) as session:
        query = select(BulkRedelivery.id, Account.stored_bytes, Account.limits).where(*OPEN)
        query = query.join(Account, Account.id == BulkRedelivery.account_id).where(Account.suspended_at.is_(None))
        found = session.execute(query.order_by(BulkRedelivery.unended_steps, _ROUND, _SERVED, _ID)).all()
    identifiers = [
        identifier for identifier, stored, own in found if stored_limit_reached(stored, own, defaults) is None
    ]
    redelivered, errors = 0, []
    for identifier in identifiers:
        try:
            redelivered += _run_alone(engine, identifier, timing)
        except Exception as error:
            if is_outage(error):
                raise
            log.error("a step of a bulk redelivery failed", redelivery=str(identifier), error=type(error).__name__)
            errors.append(error)
        if redelivered:
            waker.wake()
        if monotonic() >= until:
            break
    if identifiers:
        now = clock().timestamp()
        waker.wake_later(REDELIVER, int(now) + 1, int(now) + 1 - now)
    if errors:
        raise errors[0]
    return {"redelivered": redelivered, "open": len(identifiers)}


def _run_alone(engine: Engine, identifier: UUID, timing: Timing) -> int:
    """`_run`, unless another worker is at this order: two at once must not look like one that died. The lock ends with
    its transaction, and so with its process, or a minute after its machine."""
    with engine.begin() as connection:
        if not connection.scalar(_LOCK, {"order": str(identifier)}):
            return 0
        return _run(engine, identifier, timing)


def _run(engine: Engine, identifier: UUID, timing: Timing) -> int:
    """Begins a step, and runs it. Returns how many it opened. Raises what the database raises."""
    with Session(engine) as session, session.begin():
        ordered = _open_order(session, identifier)
        if ordered is None:
            return 0
        unended = max(ordered.unended_steps, 0)
        ordered.unended_steps = min(unended, MOST_UNENDED) + 1
    if unended >= MOST_UNENDED:
        _give_up(engine, identifier, f"its steps killed their processes {MOST_UNENDED} times")
        return 0
    try:
        with Session(engine) as session, session.begin():
            _count(session, identifier)
        with Session(engine) as session, session.begin():
            opened = _step(session, identifier, timing)
    except (ValueError, ArithmeticError, DataError) as error:  # whatever is in its row
        _give_up(engine, identifier, f"it cannot be read ({type(error).__name__})")
        return 0
    except Exception:
        with suppress(SQLAlchemyError):  # the database is away: this step counts
            _set(engine, identifier, unended_steps=0)
        raise
    return opened


def _give_up(engine: Engine, identifier: UUID, why: str) -> None:
    """Cancels an order; what it has redelivered stays so."""
    _set(engine, identifier, cancelled_at=func.now())
    log.error("bulk redelivery cancelled", redelivery=str(identifier), why=why)


def _set(engine: Engine, identifier: UUID, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(update(BulkRedelivery).where(BulkRedelivery.id == identifier).values(**values))


def _count(session: Session, identifier: UUID) -> None:
    """Counts some more of what matched, if that is not complete. It looks at more than a step does, and before it, so
    that nothing is opened before it is counted."""
    ordered = _open_order(session, identifier)
    if ordered is not None:
        count_on(session, ordered)


def _step(session: Session, identifier: UUID, timing: Timing) -> int:
    """Runs one step in the caller's transaction. Returns how many it opened."""
    ordered = _open_order(session, identifier)
    if ordered is None:
        return 0
    ordered.unended_steps = 0
    now = session.scalars(select(func.now())).one()
    allowed = room(ordered.used_until, now, ordered.per_second)
    opened = looked_at = pieces = 0
    while opened < allowed and looked_at < MAX_LOOKED_AT and pieces < MAX_PIECES:
        pieces += 1
        webhook_id = _next_webhook(session, ordered)
        if webhook_id is None:
            ordered.finished_at = now
            log.info("bulk redelivery finished", redelivery=str(identifier), redelivered=ordered.redelivered)
            break
        if webhook_id != ordered.webhook_reached:
            ordered.webhook_reached, ordered.delivery_reached = webhook_id, None
        found = _look(session, ordered, webhook_id, allowed - opened)
        # A delivery that was redelivered since the order and has ended again is skipped, as if it were open.
        wanted = one_of(Delivery.id, found.deliveries), Delivery.finished_at <= ordered.created_at
        done = len(reopen(session, *wanted, timing=timing, bypasses_circuit=False)) if found.deliveries else 0
        if found.events:
            done += len(open_missing(session, webhook_id, found.events, timing, bypasses_circuit=False))
        opened += done
        looked_at += found.looked_at
        ordered.redelivered += done
        if found.reached is not None:
            ordered.delivery_reached = found.reached
        else:
            ordered.webhook_reached, ordered.delivery_reached = UUID(int=webhook_id.int + 1), None
    ordered.used_until = used_up(ordered.used_until, now, ordered.per_second, opened)
    return opened


def _open_order(session: Session, identifier: UUID) -> BulkRedelivery | None:
    """Locked; None if it has ended meanwhile, or another worker is at it."""
    wanted = BulkRedelivery.id == identifier, *OPEN
    return session.scalar(select(BulkRedelivery).where(*wanted).with_for_update(skip_locked=True))


def _look(session: Session, ordered: BulkRedelivery, webhook: UUID, room: int) -> Found:
    """What comes next at the webhook, oldest first."""
    selection = selection_of(ordered)
    if selection.missing:
        missing = Missing(account=ordered.account_id, selection=selection, moment=ordered.created_at)
        return look_for_missing(session, missing, ordered.delivery_reached, most=PIECE, room=room)
    after = Delivery.id > (ordered.delivery_reached or _NOWHERE)
    next_rows = select(Delivery.id).where(Delivery.webhook_id == webhook, after, *in_range(selection))
    if UNSUCCESSFUL.issuperset(selection.states):
        next_rows = next_rows.where(Delivery.state.in_(sorted(UNSUCCESSFUL)))
    looked_at = session.scalars(next_rows.order_by(Delivery.id).limit(PIECE)).all()
    fitting = _fitting(session, looked_at, selection, room)
    if len(fitting) == room:
        return Found((), fitting, len(looked_at), fitting[-1])
    return Found((), fitting, len(looked_at), looked_at[-1] if len(looked_at) == PIECE else None)


def _fitting(session: Session, ids: Sequence[UUID], selection: Selection, most: int) -> Sequence[UUID]:
    query = select(Delivery.id).where(one_of(Delivery.id, ids), *selected(selection))
    return session.scalars(query.order_by(Delivery.id).limit(most)).all()


def _next_webhook(session: Session, ordered: BulkRedelivery) -> UUID | None:
    """The webhook to continue with: the one that was reached, or the first one after it that exists."""
    query = select(Webhook.id).where(
        Webhook.account_id == ordered.account_id,
        Webhook.deleted_at.is_(None),
        Webhook.id >= (ordered.webhook_reached or _NOWHERE),
    )
    if ordered.webhook_id is not None:
        query = query.where(Webhook.id == ordered.webhook_id)
    return session.scalars(query.order_by(Webhook.id).limit(1)).first()
