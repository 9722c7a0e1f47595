"""Reads what explanations are made from: a fixed number of statements, each bounded, whatever a webhook has waiting."""
# ruff: noqa: S608 - composed of constants

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from dispatcher.accounts.actor import OPERATOR, ActorKind
from dispatcher.accounts.audit import Action
from dispatcher.accounts.contact_states import ContactState
from dispatcher.db.heartbeat import DELIVERS, LIVES, SUSPECTS
from dispatcher.db.models import ERASED, Account, Webhook
from dispatcher.deliveries.records import EventLine
from dispatcher.errors import NotFound
from dispatcher.event_types import subscriptions_taking
from dispatcher.events.nearest import nearest_types_in
from dispatcher.installation import Installation
from dispatcher.states import CLOSED, Reason, State
from dispatcher.transport.told import told, told_kind
from dispatcher.webhooks.contract import FORMAT
from dispatcher.webhooks.explanation import situation
from dispatcher.webhooks.explanation.delivery import explain_delivery
from dispatcher.webhooks.explanation.event import explain_event
from dispatcher.webhooks.explanation.webhook import explain_webhook
from dispatcher.webhooks.explanation.words import Sentence
from dispatcher.webhooks.health import Health

COUNTED = 1_000  # deliveries before one, at most
SHOWN = 20  # webhooks of an account, of an event that none took
LOOKED_AT = 1_000  # deliveries among which those of a batch are looked for


class Kind(StrEnum):
    """What an id can be of."""

    EVENT = "event"
    DELIVERY = "delivery"
    WEBHOOK = "webhook"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Found:
    """What an id is of. Of a request also its webhook, how many messages it carried, and the deliveries of these, as
    far as they are found."""

    kind: Kind
    webhook: UUID | None = None
    messages: int | None = None
    deliveries: Sequence[UUID] = ()


def find(session: Session, identifier: UUID) -> Found:
    """What this is the id of. Raises NotFound."""
    row = session.execute(_FIND, {"id": identifier}).first()
    if row is None:
        raise NotFound("event, delivery, webhook or request", identifier)
    if row.kind != Kind.REQUEST:
        return Found(Kind(row.kind))
    # Attempts have no index by request, because each attempt would pay for it.
    given = {"id": identifier, "webhook": row.webhook_id, "delivery": row.delivery_id, "most": LOOKED_AT}
    deliveries = session.scalars(_OF_REQUEST if row.delivery_id is not None else _OF_BATCH, given).all()
    return Found(Kind.REQUEST, row.webhook_id, row.messages, deliveries)


def explain_one_delivery(
    session: Session, installation: Installation, delivery: UUID, *, exact: bool
) -> list[Sentence]:
    """The sentences that explain a delivery. Raises NotFound. `exact`: with failures as operators see them."""
    found = explain_deliveries(session, installation, [delivery], exact=exact)
    if delivery not in found:
        raise NotFound("delivery", delivery)
    return found[delivery]


def explain_deliveries(
    session: Session, installation: Installation, deliveries: Sequence[UUID], *, exact: bool
) -> Mapping[UUID, list[Sentence]]:
    """Of each of these deliveries that exists the sentences that explain it: in one statement, and one more if some are
    ready or cancelled."""
    rows = session.execute(_DELIVERIES, {"ids": list(deliveries), "format": FORMAT, "lives": LIVES}).all()
    ready, cancelled = ([row.id for row in rows if row.state == state] for state in (State.READY, State.CANCELLED))
    before: dict[UUID, situation.Before] = {}
    cancelled_by: dict[UUID, str] = {}
    if ready or cancelled:
        given = {"ready": ready, "cancelled": cancelled, "most": COUNTED, "exact": exact}
        for row in session.execute(_MORE, given):
            if row.actor is not None:
                cancelled_by[row.id] = row.actor
            else:
                others = max(row.found - 1, 0)
                before[row.id] = situation.Before(min(others, COUNTED), complete=others <= COUNTED)
    return {
        row.id: explain_delivery(
            _delivery(row, installation, before.get(row.id), cancelled_by.get(row.id), exact=exact), row.now
        )
        for row in rows
    }


def explain_health(
    session: Session,
    installation: Installation,
    webhook: UUID,
    health: Health,
    unreadable: str | None,
    *,
    exact: bool,
) -> list[Sentence]:
    """The sentences that explain a webhook whose health was looked at; one statement. Raises NotFound. `exact`: with
    failures as operators see them."""
    row = session.execute(_WEBHOOK, {"id": webhook, "format": FORMAT}).first()
    if row is None:
        raise NotFound("webhook", webhook)
    answer, due = health.last_answer, health.oldest_due
    return explain_webhook(
        situation.WebhookRecord(
            webhook=_webhook(row, installation),
            unreadable=unreadable,
            answer=situation.Answer(
                answer.at,
                answer.status,
                *told(answer.failure, answer.failure_detail, exact=exact),
                answer.duration,
                answer.verdict,
            )
            if answer is not None
            else None,
            ended=sum(health.counts[state] for state in CLOSED),
            discarded=health.counts[State.DISCARDED],
            counts_complete=health.complete,
            open_count=health.open.count,
            open_complete=health.open.complete,
            due_since=due.due_at if due is not None else None,
            token=situation.TokenSituation(row.has_token, row.next_fetch_at, row.after_refusal)
            if row.next_fetch_at is not None
            else None,
            contact_state=row.contact_state,
            notice=situation.LastNotice(
                row.notice_error if exact else told_kind(row.notice_error),
                row.notice_at,
                row.notice_due_at,
                row.notice_sent_at,
                row.notice_suppressed,
            )
            if row.notice_at is not None
            else None,
            are_mailed=bool(installation.settings.smtp_host),
        ),
        row.now,
    )


def explain_stored_event(
    session: Session, account: Account, event: EventLine, states: Mapping[State, int]
) -> list[Sentence]:
    """The sentences that explain an event of whose deliveries so many, as far as they were counted, are in each state.
    Of an event that webhooks took it reads nothing more; of another one statement, and a second one if it was never
    sent and nobody takes its type."""
    subscribers: list[situation.Subscriber] = []
    nearest: tuple[str, ...] = ()
    now = event.created_at  # is told only with webhooks
    if not event.delivery_count:
        rows = session.execute(_subscribers(account.id)).all()
        subscribers = [situation.Subscriber(*row[:-1]) for row in rows]
        now = rows[0].now if rows else now
        taking = set(subscriptions_taking(event.type))
        if subscribers and not states and not any(taking & set(each.event_types) for each in subscribers):
            nearest = nearest_types_in(session.connection(), account.name, event.app, event.type)
    return explain_event(
        situation.EventSituation(
            id=event.id,
            type=event.type,
            app=event.app,
            created_at=event.created_at,
            delivery_count=event.delivery_count,
            states=states,
            is_erased=event.erased,
            subscribers=subscribers[:SHOWN],
            has_more=len(subscribers) > SHOWN,
            nearest_types=nearest,
        ),
        now,
    )


def _subscribers(account: UUID) -> Any:
    wanted = Webhook.account_id == account, Webhook.deleted_at.is_(None)
    columns = Webhook.id, Webhook.name, Webhook.url_masked, Webhook.event_types, Webhook.app, Webhook.created_at
    return select(*columns, func.now().label("now")).where(*wanted).order_by(Webhook.id.desc()).limit(SHOWN + 1)


def _webhook(row: Row[Any], installation: Installation) -> situation.WebhookSituation:
    has_breakers = installation.settings.circuit_breaker_failures > 0
    return situation.WebhookSituation(
        id=row.webhook_id,
        account=row.account,
        account_suspended_at=row.account_suspended_at,
        account_deleted_at=row.account_deleted_at,
        deleted_at=row.deleted_at,
        enabled=row.enabled,
        disabled_at=row.disabled_at,
        disabled_by=row.disabled_by,
        disabled_reason=row.disabled_reason,
        quarantined_at=row.quarantined_at,
        quarantined_reason=row.quarantined_reason,
        is_newer=row.is_newer,
        rate_limit=row.rate_limit,
        delays=_delays(installation, row.schedule),
        circuit=situation.Circuit(row.failures, row.failing_since, row.opened_at, row.trial_at)
        if row.failing_since is not None and has_breakers
        else None,
    )


def _delays(installation: Installation, schedule: str | None) -> Sequence[timedelta]:
    return installation.timing.schedule(schedule or "").delays


def _delivery(
    row: Row[Any],
    installation: Installation,
    before: situation.Before | None,
    cancelled_by: str | None,
    *,
    exact: bool,
) -> situation.DeliverySituation:
    return situation.DeliverySituation(
        id=row.id,
        state=State(row.state),
        reason=Reason(row.reason) if row.reason is not None else None,
        due_at=row.due_at,
        give_up_at=row.give_up_at,
        attempt_count=row.attempt_count,
        schedule_step=row.schedule_step,
        batch_limit=row.batch_limit,
        bypasses_circuit=row.bypasses_circuit,
        deaths=row.deaths,
        claimed_until=row.claimed_until,
        finished_at=row.finished_at,
        cancelled_by=cancelled_by,
        is_event_kept=row.is_event_kept,
        is_event_erased=row.is_event_erased,
        expires_at=row.expires_at,
        webhook=_webhook(row, installation),
        last=_last(row, exact=exact),
        before=before,
        is_delivering=row.is_delivering,
        host_faults=row.host_faults,
    )


def _last(row: Row[Any], *, exact: bool) -> situation.LastAttempt | None:
    if row.last_number is None:
        return None
    at: datetime = row.last_at
    failure, detail = told(row.failure, row.failure_detail, exact=exact)
    return situation.LastAttempt(
        number=row.last_number,
        at=at,
        verdict=row.verdict,
        outcome_unknown=row.outcome_unknown,
        status=row.status,
        failure=failure,
        failure_detail=detail,
        messages=row.messages,
        asks_for_time=bool(row.asks_for_time),
    )


# A request of one message has its delivery in its headers.
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FIND = text(f"""
SELECT '{Kind.EVENT}' AS kind, NULL::uuid AS webhook_id, NULL::smallint AS messages, NULL::uuid AS delivery_id
FROM dispatcher.events WHERE id = :id
UNION ALL
SELECT '{Kind.DELIVERY}', NULL, NULL, NULL FROM dispatcher.deliveries WHERE id = :id
UNION ALL
SELECT '{Kind.WEBHOOK}', NULL, NULL, NULL FROM dispatcher.webhooks WHERE id = :id
UNION ALL
SELECT '{Kind.REQUEST}', webhook_id, messages,
       CAST(substring(headers_masked FROM '(?n)^Dispatcher-Delivery-Id: ({_UUID})$') AS uuid)
FROM dispatcher.requests WHERE id = :id
LIMIT 1
""")
_OF_REQUEST = text("SELECT id FROM dispatcher.deliveries WHERE id = :delivery AND webhook_id = :webhook")
# An attempt has its request's id. The messages of a batch were the newest, or nearly, when it was sent.
_OF_BATCH = text("""
SELECT d.id FROM (
  SELECT id FROM dispatcher.deliveries
  WHERE (webhook_id, id) >= (:webhook, '00000000-0000-0000-0000-000000000000') AND (webhook_id, id) <= (:webhook, :id)
  ORDER BY webhook_id DESC, id DESC LIMIT :most) d
CROSS JOIN LATERAL (
  SELECT 1 FROM dispatcher.attempts a WHERE a.delivery_id = d.id AND a.id = :id LIMIT 1) a
ORDER BY d.id LIMIT 100
""")

_OF_WEBHOOK = """
  w.id AS webhook_id, a.name AS account, a.suspended_at AS account_suspended_at, a.deleted_at AS account_deleted_at,
  w.deleted_at, w.enabled, w.disabled_at, w.disabled_by, w.disabled_reason, w.quarantined_at, w.quarantined_reason,
  w.format > :format AS is_newer, w.rate_limit, w.contract ->> 'schedule' AS schedule,
  g.failures, g.failing_since, g.opened_at, g.trial_at"""
_JOINS = """
JOIN dispatcher.accounts a ON a.id = w.account_id
LEFT JOIN dispatcher.circuit_breakers g ON g.webhook_id = w.id"""

# By keys only, whatever the planner believes of the tables.
_DELIVERIES = text(f"""
SELECT now() AS now, d.id, d.state, d.reason, d.due_at, d.give_up_at, d.attempt_count, d.schedule_step, d.batch_limit,
  d.bypasses_circuit, d.deaths, d.claimed_until, d.finished_at,
  coalesce(e.codec <> {ERASED}, false) AS is_event_kept, coalesce(e.codec = {ERASED}, false) AS is_event_erased,
  e.expires_at,
  t.number AS last_number, t.created_at AS last_at, t.outcome_unknown, t.verdict,
  q.status, q.failure, q.failure_detail, q.messages, q.asks_for_time,
  EXISTS (SELECT 1 FROM dispatcher.processes
          WHERE (kind = '{DELIVERS}' OR doing = '{SUSPECTS}') AND seen_at BETWEEN now() - :lives AND now() + :lives
         ) AS is_delivering,
  (SELECT CASE WHEN bool_and(fault IS NOT NULL) THEN string_agg(DISTINCT fault, ' ') END FROM dispatcher.processes
   WHERE kind = '{DELIVERS}' AND seen_at BETWEEN now() - :lives AND now() + :lives) AS host_faults,
  {_OF_WEBHOOK}
FROM dispatcher.deliveries d
JOIN dispatcher.webhooks w ON w.id = d.webhook_id
{_JOINS}
LEFT JOIN LATERAL (SELECT codec, expires_at FROM dispatcher.events WHERE id = d.event_id OFFSET 0) e ON true
LEFT JOIN LATERAL (
  SELECT number, created_at, outcome_unknown, verdict, request_id FROM dispatcher.attempts
  WHERE delivery_id = d.id ORDER BY number DESC LIMIT 1) t ON true
LEFT JOIN LATERAL (
  SELECT status, failure, failure_detail, messages, answer_headers ~* '(?n)^retry-after:' AS asks_for_time
  FROM dispatcher.requests WHERE id = t.request_id OFFSET 0) q ON true
WHERE d.id = ANY(CAST(:ids AS uuid[]))
""")

# Of those that are ready how many are before each, with itself: deliveries of one group are due at the same moment, and
# come in any order; each kind in the order of its index, so that no plan reads more than it counts. Of those that are
# cancelled who did it, by the newest entry in the audit log, as `actor.told` says it unless `:exact`.
_MORE = text(f"""
SELECT d.id, NULL AS actor, (SELECT count(*) FROM (
    (SELECT 1 FROM dispatcher.deliveries b
     WHERE b.state = '{State.READY}' AND b.webhook_id = d.webhook_id AND NOT b.is_retry AND b.due_at <= d.due_at
     ORDER BY b.due_at LIMIT :most + 2)
    UNION ALL
    (SELECT 1 FROM dispatcher.deliveries b
     WHERE b.state = '{State.READY}' AND b.webhook_id = d.webhook_id AND b.is_retry AND b.due_at <= d.due_at
     ORDER BY b.due_at LIMIT :most + 2)
    LIMIT :most + 2) b) AS found
FROM dispatcher.deliveries d WHERE d.id = ANY(CAST(:ready AS uuid[]))
UNION ALL
SELECT * FROM (
  SELECT DISTINCT ON (target_id) target_id, CASE
    WHEN :exact OR actor_kind NOT IN ('{ActorKind.API_KEY}', '{ActorKind.DIALECT}', '{ActorKind.CONSOLE}')
      OR EXISTS (SELECT FROM dispatcher.api_keys k WHERE k.id = key_id AND k.account_id IS NOT NULL)
    THEN actor ELSE '{OPERATOR}' END, NULL::bigint FROM dispatcher.audit
  WHERE target_id = ANY(CAST(:cancelled AS uuid[])) AND action = '{Action.DELIVERY_CANCELLED}'
  ORDER BY target_id, id DESC) a
""")

# Of its notices the one that is due, or else the one of last.
_WEBHOOK = text(f"""
SELECT now() AS now, {_OF_WEBHOOK}, CASE
    WHEN w.contact_email IS NULL THEN NULL WHEN p.unsubscribed_at IS NOT NULL THEN '{ContactState.UNSUBSCRIBED}'
    WHEN p.confirmed_at IS NOT NULL THEN '{ContactState.CONFIRMED}' ELSE '{ContactState.UNCONFIRMED}'
  END AS contact_state,
  t.next_fetch_at, t.after_refusal,
  coalesce(t.token_ciphertext IS NOT NULL AND t.expires_at > now(), false) AS has_token,
  n.fingerprint AS notice_error, n.observed_at AS notice_at, n.due_at AS notice_due_at,
  n.last_sent_at AS notice_sent_at, n.suppressed_count AS notice_suppressed
FROM dispatcher.webhooks w
{_JOINS}
LEFT JOIN dispatcher.recipients p ON p.account_id = w.account_id AND p.address = lower(w.contact_email)
LEFT JOIN dispatcher.tokens t ON t.webhook_id = w.id
LEFT JOIN LATERAL (
  SELECT * FROM dispatcher.notices WHERE webhook_id = w.id
  ORDER BY due_at IS NULL, coalesce(last_sent_at, observed_at) DESC LIMIT 1) n ON true
WHERE w.id = :id
""")
