"""The newest requests: what goes out just now.

Requests have no index by webhook, so whatever is looked for, those of the last minute are looked at, newest first, and
no more than 10,000 of them.
"""
# ruff: noqa: S608 - composed of constants

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dispatcher.ids import first_id_at, time_of
from dispatcher.transport.told import told
from dispatcher.webhooks.pulses.outcomes import OK, OUTCOME, TOKEN_REFUSED

LOOK_BACK = timedelta(seconds=60)
LOOKED_AT = 10_000  # requests


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """A request. `outcome` as it is counted (`dispatcher.webhooks.pulses.outcomes`); webhook and account are None if
    they were removed."""

    id: UUID
    outcome: str
    status: int | None
    failure: str | None
    failure_detail: str | None
    messages: int | None
    started_at: datetime
    duration: timedelta
    webhook_id: UUID
    webhook: str | None  # its name, or else its URL, masked
    account: str | None


@dataclass(frozen=True, slots=True)
class Live:
    """The newest requests that fit, newest first: all of those that were begun since a time."""

    requests: Sequence[LiveRequest]
    since: datetime


def newest_requests(
    session: Session,
    now: datetime,
    *,
    account: UUID | None = None,
    webhook: UUID | None = None,
    failures: bool = False,
    exact: bool = False,
    limit: int,
) -> Live:
    """The newest requests of all accounts or of one, to one webhook, or only those that failed. `exact`: failures as
    operators see them, not as customers do."""
    wanted = [
        *([_OF_ACCOUNT] if account is not None else []),
        *(["webhook_id = :webhook"] if webhook is not None else []),
        *([_FAILED] if failures else []),
    ]
    given = {"first": first_id_at(now - LOOK_BACK), "looked_at": LOOKED_AT}
    more = {"account": account, "webhook": webhook, "limit": limit}
    found = session.execute(text(_NEWEST.format(wanted=" AND ".join(wanted) or "true")), {**given, **more}).all()
    if len(found) == limit:
        last = found[-1].id
    else:
        last = session.scalar(_LAST, {"first": given["first"], "before_it": LOOKED_AT - 1})
    requests = []
    for row in found:
        failure, detail = told(row.failure, row.failure_detail, exact=exact)
        requests.append(
            LiveRequest(
                row.id,
                row.outcome,
                row.status,
                failure,
                detail,
                row.messages,
                row.started_at,
                row.duration,
                row.webhook_id,
                row.webhook,
                row.account,
            )
        )
    return Live(requests, time_of(last) if last is not None else now - LOOK_BACK)


_COLUMNS = "id, webhook_id, verdict, status, failure, failure_detail, messages, started_at, duration"
# A scalar, so that each webhook is looked up by its id, and not all of an account's are read.
_OF_ACCOUNT = "(SELECT w.account_id FROM dispatcher.webhooks w WHERE w.id = webhook_id) = :account"
_FAILED = f"outcome NOT IN ('{OK}', '{TOKEN_REFUSED}')"
_NEWEST = f"""
SELECT r.*, coalesce(w.name, w.url_masked) AS webhook, a.name AS account
FROM (
  SELECT * FROM (
    SELECT *, {OUTCOME} AS outcome FROM (
      SELECT {_COLUMNS}, messages IS NULL AS is_old FROM dispatcher.requests
      WHERE id >= :first ORDER BY id DESC LIMIT :looked_at) looked_at) named
  WHERE {{wanted}} ORDER BY id DESC LIMIT :limit) r
LEFT JOIN dispatcher.webhooks w ON w.id = r.webhook_id
LEFT JOIN dispatcher.accounts a ON a.id = w.account_id
ORDER BY r.id DESC"""
_LAST = text("SELECT id FROM dispatcher.requests WHERE id >= :first ORDER BY id DESC OFFSET :before_it LIMIT 1")
