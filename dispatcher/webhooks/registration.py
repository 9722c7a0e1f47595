"""Makes and changes webhooks as management APIs do: checked as a whole, tried where that is asked for, then written."""

from collections.abc import Callable
from datetime import timedelta
from typing import Unpack
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from dispatcher.accounts.actor import Actor
from dispatcher.db.models import Account, Webhook
from dispatcher.installation import Installation
from dispatcher.signing.keys import SigningKey
from dispatcher.webhooks.fields import WebhookFields
from dispatcher.webhooks.store import Webhooks, contract_of
from dispatcher.webhooks.url_check import takes_url_test, try_url

# What a dialect demands of the account's other webhooks, such as a number of them; raises what it likes. It is called
# while the account's webhooks cannot change.
Demand = Callable[[Webhooks, Account], None]
# What a change makes of the webhook as it stands; raises what it likes. It is called while nobody else can change it.
Derive = Callable[[Webhooks, Webhook], WebhookFields]


def register(
    installation: Installation,
    account_id: UUID,
    *,
    by: Actor,
    enabled: bool = True,
    dialect: str | None = None,
    url_test: bool = False,
    demand: Demand | None = None,
    **fields: Unpack[WebhookFields],
) -> Webhook:
    """Makes a webhook. With `url_test` its URL must answer first, unless it is made disabled or its callbacks are of
    another kind than the test.

    Raises InvalidWebhook (UrlTestFailed among them), NameTaken, TooBusy, or what `demand` raises; nothing is written
    then.
    """

    def make(session: Session, webhooks: Webhooks) -> Webhook:
        account = _locked(session, account_id)
        if demand is not None:
            demand(webhooks, account)
        return webhooks.create(account, enabled=enabled, by=by, dialect=dialect, **fields)

    return _written(installation, make, url_test=url_test)


def change(
    installation: Installation,
    account_id: UUID,
    webhook_id: UUID,
    *,
    by: Actor,
    enabled: bool | None = None,
    reason: str | None = None,
    url_test: bool = False,
    demand: Demand | None = None,
    derive: Derive | None = None,
    **fields: Unpack[WebhookFields],
) -> Webhook:
    """Changes what is given, `enabled` too, and wakes the workers: deliveries may have waited for it. `reason` is kept
    where it is disabled. `derive` gives fields that depend on the webhook as it stands. Raises as `register` does,
    what `derive` raises, and NotFound."""

    def make(session: Session, webhooks: Webhooks) -> Webhook:
        account = _locked(session, account_id)
        webhook = webhooks.get(account, webhook_id)
        if demand is not None:
            demand(webhooks, account)
        given: WebhookFields = {**fields, **derive(webhooks, webhook)} if derive is not None else fields
        return webhooks.change(webhook, by=by, enabled=enabled, reason=reason, **given)

    changed = _written(installation, make, url_test=url_test)
    installation.waker.wake()
    return changed


def rotate_signing_key(
    installation: Installation, account_id: UUID, webhook_id: UUID, new: SigningKey, *, overlap: timedelta, by: Actor
) -> Webhook:
    """Has a webhook sign with a new key, and with those before it until the overlap is over. Raises NotFound and
    InvalidWebhook."""
    with installation.transaction() as session:
        account = _locked(session, account_id)
        webhooks = Webhooks(session, installation)
        return webhooks.rotate_signing_key(webhooks.get(account, webhook_id), new, overlap=overlap, by=by)


def remove(installation: Installation, account_id: UUID, webhook_id: UUID, *, by: Actor) -> None:
    """Deletes a webhook, after whoever changes it at this moment. Raises NotFound."""
    with installation.transaction() as session:
        account = _locked(session, account_id)
        webhooks = Webhooks(session, installation)
        webhooks.delete(webhooks.get(account, webhook_id), by=by)


def _written(installation: Installation, make: Callable[[Session, Webhooks], Webhook], *, url_test: bool) -> Webhook:
    if url_test:
        # Done once to see what it comes to, and undone: no transaction is open while a receiver takes its time.
        with installation.transaction() as session:
            webhooks = Webhooks(session, installation)
            webhook = make(session, webhooks)
            tried = webhooks.called_url(webhook), contract_of(webhook), webhooks.secrets(webhook)
            is_tried = webhook.enabled and takes_url_test(contract_of(webhook))
            session.rollback()
        if is_tried:
            try_url(*tried, installation)
    with installation.transaction() as session:
        return make(session, Webhooks(session, installation))


def _locked(session: Session, account_id: UUID) -> Account:
    """The account; who else registers for it waits."""
    return session.scalars(select(Account).where(Account.id == account_id).with_for_update()).one()
