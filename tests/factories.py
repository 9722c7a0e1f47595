"""Accounts, webhooks and events for tests, made through the product's own functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Unpack
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import create_account, find_account
from dispatcher.accounts.actor import Actor, CommandLine
from dispatcher.accounts.portal_choices import PortalChoices, PortalScope
from dispatcher.accounts.portal_links import Link, make_to_portal
from dispatcher.db.binding import BINDS_FROM
from dispatcher.db.heartbeat import Heartbeat
from dispatcher.db.models import Webhook
from dispatcher.db.retention.kinds import Kept
from dispatcher.errors import UnknownAccount
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.wake import DELIVER
from dispatcher.webhooks.fields import WebhookFields, check, check_text
from dispatcher.webhooks.registration import register, remove, rotate_signing_key
from dispatcher.webhooks.store import Webhooks
from tests.installations import close_installations, installation_for, worker_for
from workers.loop import DeliveryLoop
from workers.maintenance.redeliver import continue_redeliveries
from workers.maintenance.sweep import WHOLE, sweep, sweep_in_turn
from workers.maintenance.upkeep import upkeep

MESSAGE = {"id": "4023457654", "type": "RECEIVED", "from": "1543", "to": "27001234567", "body": "Yes"}
RECEIVED = "message.inbound.received"
TESTER = CommandLine("tester")


def make_account(database: Engine, name: str = "acme") -> str:
    """An account with this name, made if it does not exist; returns the name."""
    with Session(database) as session, session.begin():
        try:
            find_account(session, name)
        except UnknownAccount:
            create_account(session, name, by=TESTER)
    return name


def make_webhook(
    database: Engine,
    settings: Settings,
    *,
    account: str = "acme",
    by: Actor = TESTER,
    enabled: bool = True,
    **fields: Unpack[WebhookFields],
) -> Webhook:
    """A webhook of an account (made if it does not exist) that takes all events unless `fields` say otherwise."""
    make_account(database, account)
    wanted: WebhookFields = {"event_types": ["*"], **fields}
    return register(installation_for(settings), account, by=by, enabled=enabled, **wanted).webhook


def change_webhook(database: Engine, settings: Settings, webhook: Webhook, change: str, **arguments: Any) -> None:
    """Applies a change to a webhook in its own transaction: `enable`, `disable`, `update`, `delete` or
    `rotate_signing_key`."""
    if change == "delete":
        remove(installation_for(settings), None, webhook.id, by=TESTER)
        return
    if change == "rotate_signing_key":
        rotate_signing_key(installation_for(settings), None, webhook.id, by=TESTER, **arguments)
        return
    switched = {"enabled": change == "enable", "reason": arguments.pop("reason", None)}
    with Session(database) as session, session.begin():
        change_within(session, settings, webhook.id, arguments, **(switched if change != "update" else {}))


def change_within(session: Session, settings: Settings, webhook_id: UUID, fields: Any, **switched: Any) -> None:
    """Changes a webhook in a transaction that stays open, and sends no wake."""
    installation = installation_for(settings)
    webhooks = Webhooks(session, installation)
    check_text("reason", switched.get("reason"))
    kept = webhooks.read(None, webhook_id, lock=True)
    checked = check(fields, installation.addresses, dialect=kept.webhook.dialect, kept=kept)
    assert webhooks.update(kept, checked, by=TESTER, **switched) is not None


def deliver_all(settings: Settings, task: str = DELIVER) -> dict[str, int]:
    """Runs one delivery loop in this process until nothing is due; with SUSPECTS for suspects only."""
    worker = worker_for(settings)
    try:
        return DeliveryLoop(worker, task).run()
    finally:
        worker.drop_transport()


def forget_encryption(database: Engine) -> None:
    """Restores the state before anything was encrypted: later tests have their own keys."""
    change(database, "UPDATE dispatcher.installation SET digest_key = NULL")
    close_installations()


@contextmanager
def in_use_before(database: Engine) -> Iterator[None]:
    """A database that an older version has used, and may use again: secrets are not bound to their rows. Afterwards it
    is a new one again."""
    change(database, "UPDATE dispatcher.installation SET oldest_revision = '0009', secrets_bound_from = NULL")
    forget_encryption(database)
    try:
        yield
    finally:
        change(
            database,
            f"UPDATE dispatcher.installation SET oldest_revision = '{BINDS_FROM}', secrets_bound_from = NULL",
        )
        forget_encryption(database)


def sweep_once(settings: Settings) -> dict[str, int]:
    """Runs the sweep once, whoever has its lease."""
    installation = installation_for(settings)
    done = sweep(installation.engine, installation.waker, installation.timing, new_id(), WHOLE)
    return {"promoted": done.promoted, "freed": done.freed}


def sweep_if_due(settings: Settings, heartbeat: Heartbeat) -> dict[str, int]:
    """Runs the sweep's task in the process with this heartbeat."""
    made = installation_for(settings)
    return sweep_in_turn(made.engine, made.waker, made.timing, made.clock, heartbeat)


def upkeep_once(settings: Settings) -> dict[str, int]:
    """Runs upkeep once."""
    worker = worker_for(settings)
    made, circuit_breakers = worker.installation, settings.circuit_breaker_failures > 0
    kept = Kept.of(dict(made.settings), made.settings.model_fields_set)
    return upkeep(made.engine, made.vault, made.clock, worker.counts, kept, circuit_breakers=circuit_breakers)


def redeliver_more(settings: Settings) -> dict[str, int]:
    """Runs one step of each bulk redelivery."""
    installation = installation_for(settings)
    parts = installation.engine, installation.waker, installation.timing, installation.clock
    return continue_redeliveries(*parts, installation.settings.default_limits)


def deliveries(database: Engine) -> list[Row[Any]]:
    """All deliveries, oldest first."""
    return rows(database, "SELECT * FROM dispatcher.deliveries ORDER BY id")


def lock_deliveries_of(connection: Connection, event_type: str) -> None:
    """Locks the deliveries of all events of a type until the transaction ends."""
    connection.execute(
        text(
            "SELECT 1 FROM dispatcher.deliveries d JOIN dispatcher.events e ON e.id = d.event_id"
            " WHERE e.type = :type FOR UPDATE OF d"
        ),
        {"type": event_type},
    )


def attempts(database: Engine, delivery_id: UUID | None = None) -> list[Row[Any]]:
    """The attempts (of one delivery, or all) with their requests."""
    return rows(
        database,
        "SELECT a.number, a.delivery_id, a.verdict, a.outcome_unknown, a.request_id, r.* FROM dispatcher.attempts a"
        " LEFT JOIN dispatcher.requests r ON r.id = a.request_id"
        " WHERE CAST(:id AS uuid) IS NULL OR a.delivery_id = :id ORDER BY a.delivery_id, a.number",
        id=delivery_id,
    )


def rows(database: Engine, statement: str, **parameters: Any) -> list[Row[Any]]:
    """The rows that a statement returns."""
    with database.connect() as connection:
        return list(connection.execute(text(statement), parameters))


def change(database: Engine, statement: str, **parameters: Any) -> None:
    """Changes rows directly, mostly to move time."""
    with database.begin() as connection:
        connection.execute(text(statement), parameters)


def make_quarantined_notice(database: Engine) -> UUID:
    """A notice of the first webhook that was put aside."""
    with database.begin() as connection:
        return connection.execute(
            text(
                "INSERT INTO dispatcher.notices (id, webhook_id, kind, fingerprint, observed_at, delivery_id,"
                " quarantined_at, quarantined_reason)"
                " SELECT gen_random_uuid(), id, 'message_retrying', 'http_503', now(), gen_random_uuid(), now(), 'odd'"
                " FROM dispatcher.webhooks ORDER BY number LIMIT 1 RETURNING id"
            )
        ).scalar_one()


def make_recipient(database: Engine) -> UUID:
    """A contact of the first account, that is not confirmed."""
    with database.begin() as connection:
        return connection.execute(
            text(
                "INSERT INTO dispatcher.recipients (id, account_id, address, mailbox)"
                " SELECT gen_random_uuid(), id, 'ops@acme.test', 'ops@acme.test'"
                " FROM dispatcher.accounts ORDER BY number LIMIT 1 RETURNING id"
            )
        ).scalar_one()


def make_portal_link(database: Engine, settings: Settings, account: str = "acme") -> Link:
    """A link to the portal, which the settings switch on, for a customer of an account (made if it does not exist)."""
    chosen = PortalChoices(scopes={PortalScope.READ})
    make_account(database, account)
    with Session(database) as session, session.begin():
        owner = find_account(session, account)
        return make_to_portal(session, owner, chosen, settings, key_id=None, now=datetime.now(UTC), by=TESTER)


def make_due(database: Engine) -> None:
    """Makes every waiting delivery due."""
    change(database, "UPDATE dispatcher.deliveries SET due_at = now() - interval '1 second' WHERE state = 'waiting'")
