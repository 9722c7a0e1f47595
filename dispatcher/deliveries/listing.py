"""Which deliveries are on a page: found along an index each, at a cost that has a bound whatever an account has."""
# ruff: noqa: S608 - composed of constants

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dispatcher.db.of_webhooks import Found, Source, page, page_of_webhooks, refuse_many, webhooks_of
from dispatcher.db.pages import BEYOND, FIRST, LOOKED_AT
from dispatcher.errors import InvalidFilter
from dispatcher.ids import first_id_at
from dispatcher.states import Reason, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A filter for deliveries. `since` and `until` are about when the event was received. Raises InvalidFilter for what
    no delivery can be."""

    webhook: UUID | None = None
    event: UUID | None = None
    state: State | None = None
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.reason is not None and self.state not in {None, State.DISCARDED}:
            raise InvalidFilter("reason", f"is of discarded deliveries only, and `state` is `{self.state}`")


def page_of_deliveries(
    session: Session, account: UUID | None, wanted: Wanted, before: UUID | None, limit: int
) -> Found:
    """A page of the account's deliveries (None: of all accounts), newest first; those of one event by their webhook,
    the newest first. A filter without an index makes it from the next 10,000, so it can be short or empty although
    there are more. Raises InvalidFilter for an account with very many webhooks."""
    given: dict[str, Any] = {
        "account": account,
        "webhook": wanted.webhook,
        "event": wanted.event,
        "reason": wanted.reason,
        "first": FIRST if wanted.since is None else first_id_at(wanted.since),
        "end": BEYOND if wanted.until is None else first_id_at(wanted.until),
        "before": before,
        "limit": limit + 1,
        "looked_at": LOOKED_AT,
    }
    if wanted.event is not None:
        found = session.execute(text(_of_event(wanted)), given).one()
        return page(found.ids, found.reached, limit)
    given["end"] = min(given["end"], before or BEYOND)
    if account is None:
        assert wanted.webhook is None  # it has an account
        found = session.execute(text(_of_all(wanted)), given).one()
        return page(found.ids, found.reached, limit)
    if wanted.state in _OPEN:
        found = session.execute(text(_few(wanted.state, is_one=wanted.webhook is not None)), given).one()
        refuse_many(found.webhooks)
        if found.looked_at <= LOOKED_AT:
            return page(found.ids, None, limit)
    return page_of_webhooks(session, _source(wanted), given, limit)


# Deliveries of an event have the millisecond of its id, so by their own ids they have no order. In pairs, as below.
def _of_event(wanted: Wanted) -> str:
    fits = ["d.id >= :first", "d.id < :end", "w.account_id = :account", *_fits(wanted)]
    of_one = "AND webhook_id = :webhook" if wanted.webhook is not None else ""
    return f"""
WITH looked_at AS MATERIALIZED (
  SELECT id, webhook_id, state, reason FROM dispatcher.deliveries
  WHERE (event_id, webhook_id) >= (:event, CAST('{FIRST}' AS uuid))
    AND (event_id, webhook_id) < (:event, coalesce(
      CASE WHEN CAST(:before AS uuid) IS NULL THEN CAST('{BEYOND}' AS uuid)
           ELSE (SELECT b.webhook_id FROM dispatcher.deliveries b WHERE b.id = :before AND b.event_id = :event) END,
      CAST('{FIRST}' AS uuid))) {of_one}
  ORDER BY event_id DESC, webhook_id DESC LIMIT :looked_at)
SELECT
  ARRAY(SELECT d.id FROM looked_at d JOIN dispatcher.webhooks w ON w.id = d.webhook_id WHERE {" AND ".join(fits)}
        ORDER BY d.webhook_id DESC LIMIT :limit) AS ids,
  (SELECT id FROM looked_at ORDER BY webhook_id DESC OFFSET :looked_at - 1 LIMIT 1) AS reached"""


def _of_all(wanted: Wanted) -> str:
    fits = ["true", *_fits(wanted)]
    return f"""
WITH looked_at AS MATERIALIZED (
  SELECT id, state, reason FROM dispatcher.deliveries WHERE id >= :first AND id < :end
  ORDER BY id DESC LIMIT :looked_at)
SELECT ARRAY(SELECT id FROM looked_at d WHERE {" AND ".join(fits)} ORDER BY id DESC LIMIT :limit) AS ids,
  (SELECT id FROM looked_at ORDER BY id DESC OFFSET :looked_at - 1 LIMIT 1) AS reached"""


def _fits(wanted: Wanted) -> list[str]:
    states = [f"d.state = '{wanted.state}'"] if wanted.state is not None else []
    return states + ([f"d.reason = '{wanted.reason}'"] if wanted.reason is not None else [])


# Open deliveries have an index by state, but not in the order of ids. If there are few, they are all looked at. Each
# kind in the order of its index.
_OF_ONE = """(SELECT id FROM dispatcher.deliveries WHERE state = '{state}' AND webhook_id = w.id {more}
    ORDER BY due_at LIMIT :looked_at + 1)"""
_OPEN = {
    State.READY: f"""SELECT d.id, w.id AS webhook_id FROM w CROSS JOIN LATERAL (
  {_OF_ONE.format(state=State.READY, more="AND NOT is_retry")}
  UNION ALL {_OF_ONE.format(state=State.READY, more="AND is_retry")}) d LIMIT :looked_at + 1""",
    State.WAITING: f"""SELECT d.id, w.id AS webhook_id FROM w CROSS JOIN LATERAL
  {_OF_ONE.format(state=State.WAITING, more="")} d LIMIT :looked_at + 1""",
    # Of all accounts: as many as workers have in hand.
    State.CLAIMED: f"""SELECT id, webhook_id FROM dispatcher.deliveries WHERE state = '{State.CLAIMED}'
  ORDER BY claimed_until LIMIT :looked_at + 1""",
}


def _few(state: State, *, is_one: bool) -> str:
    return f"""
WITH w AS MATERIALIZED ({webhooks_of(is_one=is_one)}),
looked_at AS MATERIALIZED ({_OPEN[state]})
SELECT (SELECT count(*) FROM w) AS webhooks, (SELECT count(*) FROM looked_at) AS looked_at,
  ARRAY(SELECT d.id FROM looked_at d JOIN w ON w.id = d.webhook_id WHERE d.id >= :first AND d.id < :end
        ORDER BY d.id DESC LIMIT :limit) AS ids"""


def _source(wanted: Wanted) -> Source:
    more, where, fits = dict[str, str](), "true", _fits(wanted)
    if wanted.reason is not None:
        more, where, fits = {"reason": ":reason"}, f"state = '{State.DISCARDED}'", []
    elif wanted.state in _UNSUCCESSFUL:
        where = f"state IN ('{State.DISCARDED}', '{State.CANCELLED}')"
    return Source("dispatcher.deliveries", more, where, ("state", "reason"), fits)


_UNSUCCESSFUL = frozenset({State.DISCARDED, State.CANCELLED})  # these states have their own index
