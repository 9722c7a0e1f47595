"""Which deliveries are on a page: found along an index each, at a cost that has a bound whatever an account has."""
# ruff: noqa: S608 - composed of constants

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dispatcher.errors import InvalidFilter
from dispatcher.ids import first_id_at
from dispatcher.states import Reason, State

LOOKED_AT = 10_000  # deliveries, for one page of a filter without an index
MOST_WEBHOOKS = 50_000  # of an account whose deliveries are listed together, deleted ones included
_WEBHOOKS_AT_ONCE = 100  # of which the next deliveries are looked at
_SIFTED_AT_ONCE = 20  # the same if few of these may match

_FIRST, _BEYOND = UUID(int=0), UUID(int=(1 << 128) - 1)


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


class Found(NamedTuple):
    """The ids on a page, in its order, and below which id the next one goes on (None: there is none)."""

    ids: Sequence[UUID]
    before: UUID | None


def page_of_deliveries(session: Session, account: UUID, wanted: Wanted, before: UUID | None, limit: int) -> Found:
    """A page of the account's deliveries, newest first; those of one event by their webhook, the newest first. A filter
    without an index makes it from the next 10,000, so it can be short or empty although there are more. Raises
    InvalidFilter for an account with very many webhooks."""
    given: dict[str, Any] = {
        "account": account,
        "webhook": wanted.webhook,
        "event": wanted.event,
        "reason": wanted.reason,
        "first": _FIRST if wanted.since is None else first_id_at(wanted.since),
        "end": _BEYOND if wanted.until is None else first_id_at(wanted.until),
        "before": before,
        "limit": limit + 1,
        "looked_at": LOOKED_AT,
    }
    if wanted.event is not None:
        found = session.execute(text(_of_event(wanted)), given).one()
        return _page(found.ids, found.reached, limit)
    given["end"] = min(given["end"], before or _BEYOND)
    if wanted.state in _OPEN:
        found = session.execute(text(_few(wanted.state, wanted.webhook)), given).one()
        _refuse_many(found.webhooks)
        if found.looked_at <= LOOKED_AT:
            return _page(found.ids, None, limit)
    for is_last in (False, True):  # a page that the next few fill costs no more than these
        found = session.execute(text(_of_webhooks(wanted, limit, is_last=is_last)), given).one()
        _refuse_many(found.webhooks)
        if len(found.ids) > limit or found.floor is None:
            break
    # The next page begins with the floor itself.
    return _page(found.ids, UUID(int=found.floor.int + 1) if found.floor is not None else None, limit)


def _page(ids: Sequence[UUID], reached: UUID | None, limit: int) -> Found:
    return Found(ids[:limit], ids[limit - 1]) if len(ids) > limit else Found(ids, reached)


def _refuse_many(webhooks: int) -> None:
    if webhooks > MOST_WEBHOOKS:
        many = f"the account has more than {MOST_WEBHOOKS:,} webhooks, deleted ones included"
        raise InvalidFilter("webhook", f"or `event` is required: {many}")


# Deliveries of an event have the millisecond of its id, so by their own ids they have no order. In pairs, as below.
def _of_event(wanted: Wanted) -> str:
    fits = ["d.id >= :first", "d.id < :end", "w.account_id = :account", *_fits(wanted)]
    of_one = "AND webhook_id = :webhook" if wanted.webhook is not None else ""
    return f"""
WITH looked_at AS MATERIALIZED (
  SELECT id, webhook_id, state, reason FROM dispatcher.deliveries
  WHERE (event_id, webhook_id) >= (:event, CAST('{_FIRST}' AS uuid))
    AND (event_id, webhook_id) < (:event, coalesce(
      CASE WHEN CAST(:before AS uuid) IS NULL THEN CAST('{_BEYOND}' AS uuid)
           ELSE (SELECT b.webhook_id FROM dispatcher.deliveries b WHERE b.id = :before AND b.event_id = :event) END,
      CAST('{_FIRST}' AS uuid))) {of_one}
  ORDER BY event_id DESC, webhook_id DESC LIMIT :looked_at)
SELECT
  ARRAY(SELECT d.id FROM looked_at d JOIN dispatcher.webhooks w ON w.id = d.webhook_id WHERE {" AND ".join(fits)}
        ORDER BY d.webhook_id DESC LIMIT :limit) AS ids,
  (SELECT id FROM looked_at ORDER BY webhook_id DESC OFFSET :looked_at - 1 LIMIT 1) AS reached"""


def _fits(wanted: Wanted) -> list[str]:
    states = [f"d.state = '{wanted.state}'"] if wanted.state is not None else []
    return states + ([f"d.reason = '{wanted.reason}'"] if wanted.reason is not None else [])


def _webhooks(webhook: UUID | None) -> str:
    of_one = "AND id = :webhook" if webhook is not None else ""
    return f"SELECT id FROM dispatcher.webhooks WHERE account_id = :account {of_one} LIMIT {MOST_WEBHOOKS + 1}"


# Open deliveries have an index by state, but not in the order of ids. If there are few, they are all looked at.
_RETRIES = """
  (SELECT id FROM dispatcher.deliveries WHERE state = 'ready' AND webhook_id = w.id AND {is_retry}
   ORDER BY due_at LIMIT :looked_at + 1)"""
_OPEN = {
    State.READY: f"""SELECT d.id, w.id AS webhook_id
  FROM w CROSS JOIN LATERAL ({_RETRIES.format(is_retry="NOT is_retry")}
  UNION ALL {_RETRIES.format(is_retry="is_retry")}) d LIMIT :looked_at + 1""",
    State.WAITING: f"""SELECT d.id, w.id AS webhook_id FROM w CROSS JOIN LATERAL (
  SELECT id FROM dispatcher.deliveries WHERE state = '{State.WAITING}' AND webhook_id = w.id
  ORDER BY due_at LIMIT :looked_at + 1) d LIMIT :looked_at + 1""",
    # Of all accounts: as many as workers have in hand.
    State.CLAIMED: f"""SELECT id, webhook_id FROM dispatcher.deliveries WHERE state = '{State.CLAIMED}'
  ORDER BY claimed_until LIMIT :looked_at + 1""",
}


def _few(state: State, webhook: UUID | None) -> str:
    return f"""
WITH w AS MATERIALIZED ({_webhooks(webhook)}),
looked_at AS MATERIALIZED ({_OPEN[state]})
SELECT (SELECT count(*) FROM w) AS webhooks, (SELECT count(*) FROM looked_at) AS looked_at,
  ARRAY(SELECT d.id FROM looked_at d JOIN w ON w.id = d.webhook_id WHERE d.id >= :first AND d.id < :end
        ORDER BY d.id DESC LIMIT :limit) AS ids"""


def _of_webhooks(wanted: Wanted, limit: int, *, is_last: bool) -> str:
    """The webhooks whose next delivery is the newest, and of each of these its next ones. All above the `floor` has
    been looked at: from there on, a webhook may have more than was looked at, or another webhook comes."""
    columns, values, where = ["webhook_id"], ["{webhook}"], "true"
    fits = _fits(wanted)
    if wanted.reason is not None:
        columns, values, where, fits = [*columns, "reason"], [*values, ":reason"], f"state = '{State.DISCARDED}'", []
    elif wanted.state in _UNSUCCESSFUL:
        where = f"state IN ('{State.DISCARDED}', '{State.CANCELLED}')"
    key, value = ", ".join([*columns, "id"]), ", ".join(values)
    # In rows, for which there is an index: by id alone the planner might walk through those of all webhooks.
    along = f"""FROM dispatcher.deliveries
    WHERE ({key}) >= ({value}, :first) AND ({key}) < ({value}, :end) AND {where}
    ORDER BY {", ".join(f"{column} DESC" for column in (*columns, "id"))}"""
    webhooks, each = min(limit + 1, _WEBHOOKS_AT_ONCE), "2 * :limit" if fits else ":limit"
    if fits and is_last:
        webhooks, each = _SIFTED_AT_ONCE, ":looked_at / greatest(1, (SELECT count(*) FROM chosen))"
    return f"""
WITH w AS MATERIALIZED ({_webhooks(wanted.webhook)}),
heads AS MATERIALIZED (
  SELECT w.id AS webhook_id, h.id FROM w CROSS JOIN LATERAL (SELECT id {along.format(webhook="w.id")} LIMIT 1) h
  ORDER BY h.id DESC LIMIT {webhooks + 1}),
chosen AS MATERIALIZED (SELECT webhook_id FROM heads ORDER BY id DESC LIMIT {webhooks}),
looked_at AS MATERIALIZED (
  SELECT d.*, row_number() OVER (PARTITION BY c.webhook_id ORDER BY d.id DESC) AS place
  FROM chosen c CROSS JOIN LATERAL (
    SELECT id, state, reason {along.format(webhook="c.webhook_id")} LIMIT {each}) d),
floor AS MATERIALIZED (
  SELECT id FROM (
    SELECT id FROM looked_at WHERE place = {each}
    UNION ALL
    (SELECT id FROM heads ORDER BY id DESC OFFSET {webhooks})) f
  ORDER BY id DESC LIMIT 1)
SELECT (SELECT count(*) FROM w) AS webhooks, (SELECT id FROM floor) AS floor,
  ARRAY(SELECT d.id FROM looked_at d
        WHERE ((SELECT id FROM floor) IS NULL OR d.id > (SELECT id FROM floor)) {"".join(f" AND {fit}" for fit in fits)}
        ORDER BY d.id DESC LIMIT :limit) AS ids"""


_UNSUCCESSFUL = frozenset({State.DISCARDED, State.CANCELLED})  # these states have their own index
