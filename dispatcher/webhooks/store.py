"""Registered receivers: create, find, change, delete. Finders demand the owner; what changes one notes by whom."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Unpack
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account, Gate, Rate, Subscription, Token, Webhook
from dispatcher.egress.urls import normalise_url
from dispatcher.encryption.vault import url_digest
from dispatcher.errors import InvalidWebhook, NameTaken, NotFound
from dispatcher.ids import new_id
from dispatcher.installation import Installation
from dispatcher.masking.urls import mask_url
from dispatcher.receiver_auth.credentials import (
    ClientCredentials,
)
from dispatcher.signing.keys import SigningKey, check_signing_key, generate_signing_key, rotate
from dispatcher.webhooks.changes import changed_fields, fields_now
from dispatcher.webhooks.contract import DeliveryContract, read_contract, write_contract
from dispatcher.webhooks.fields import (
    SECRETS,
    WebhookFields,
    changed_secrets,
    check_email,
    check_event_types,
    check_text,
)
from dispatcher.webhooks.secrets import WebhookSecrets, read_secrets, write_secrets
from schedules.catalog import SCHEDULES

NATIVE = "native"  # webhooks of no dialect, where dialects are named


class Webhooks:
    """The webhooks of an installation, in one transaction."""

    def __init__(self, session: Session, installation: Installation) -> None:
        """Raises ConfigurationError where the encryption keys do not fit."""
        self._session = session
        self._vault = installation.vault
        self._addresses = installation.addresses

    def create(
        self,
        account: Account,
        *,
        by: Actor,
        enabled: bool = True,
        dialect: str | None = None,
        **fields: Unpack[WebhookFields],
    ) -> Webhook:
        """`dialect` is the vendor's management API that it is made through. Its callbacks are signed with a new HMAC
        key, unless `signing_keys` says otherwise.

        Raises InvalidWebhook naming the field, or NameTaken. Nothing is written then.
        """
        for required in ("url", "event_types"):
            if required not in fields:
                raise InvalidWebhook(required, "is required")
        webhook = Webhook(
            id=new_id(),
            account_id=account.id,
            dialect=dialect,
            dialect_fields={},
            enabled=enabled,
            contract={},
            event_types=[],
        )
        if not enabled:
            _disabled(webhook, by, "registered disabled")
        secrets = self._apply(webhook, {"contract": {}, "signing_keys": [generate_signing_key()], **fields})
        self._session.add(webhook)
        self._flush()
        self._session.refresh(webhook)
        self._subscribe(webhook)
        self._pace(webhook)
        changed = changed_fields({"dialect_fields": {}}, fields_now(webhook), secrets)
        self._note(webhook, by, Action.WEBHOOK_CREATED, {"changed": changed})
        return webhook

    def get(self, account: Account, identifier: UUID) -> Webhook:
        """Raises NotFound for a webhook that is deleted, unknown, or another account's."""
        webhook = self._session.get(Webhook, identifier)
        if webhook is None or webhook.account_id != account.id or webhook.deleted_at is not None:
            raise NotFound("webhook", identifier)
        return webhook

    def get_of(self, dialect: str, account: Account, identifier: UUID | int) -> Webhook:
        """One that was made through this dialect, by its id or its number. Raises NotFound."""
        column = Webhook.number if isinstance(identifier, int) else Webhook.id
        wanted = column == identifier, Webhook.dialect == dialect, *_standing(account)
        webhook = self._session.scalar(select(Webhook).where(*wanted))
        if webhook is None:
            raise NotFound("webhook", identifier)
        return webhook

    def list(self, account: Account, *, dialect: str | None = None, app: str | None = None) -> Sequence[Webhook]:
        """The account's webhooks, oldest first, deleted ones left out; of one dialect or app, or all."""
        wanted = list(_standing(account))
        if dialect is not None:
            wanted.append(Webhook.dialect == dialect)
        if app is not None:
            wanted.append(Webhook.app == app)
        return self._session.scalars(select(Webhook).where(*wanted).order_by(Webhook.id)).all()

    def page(
        self,
        account: Account,
        *,
        dialect: str | None = None,
        app: str | None = None,
        enabled: bool | None = None,
        url: str | None = None,
        before: UUID | None = None,
        limit: int,
    ) -> Sequence[Webhook]:
        """The account's webhooks, newest first, deleted ones left out; `before` is the last id of the page before.
        `dialect` may be NATIVE; `url` is the whole of it, in any spelling that is called alike. Raises InvalidWebhook
        for what is no URL."""
        wanted = list(_standing(account))
        if dialect is not None:
            wanted.append(Webhook.dialect.is_(None) if dialect == NATIVE else Webhook.dialect == dialect)
        if app is not None:
            wanted.append(Webhook.app == app)
        if enabled is not None:
            wanted.append(Webhook.enabled.is_(enabled))
        if url is not None:
            wanted.append(Webhook.url_digest == self._digest(normalise_url(url)))
        if before is not None:
            wanted.append(Webhook.id < before)
        return self._session.scalars(select(Webhook).where(*wanted).order_by(Webhook.id.desc()).limit(limit)).all()

    def change(
        self,
        webhook: Webhook,
        *,
        by: Actor,
        enabled: bool | None = None,
        reason: str | None = None,
        **fields: Unpack[WebhookFields],
    ) -> Webhook:
        """Changes what is given. Deliveries that wait use the webhook as it is at their next attempt. A new URL or
        contract deserves a new try: a closed gate opens. So it does, and what waited is delivered, where it is enabled.
        While it is disabled events still match and their deliveries wait, until their schedule's whole span has passed;
        one that is disabled already keeps what is known of that, unless there is a new reason. Raises as `create`."""
        before, version = fields_now(webhook), webhook.version
        secrets = self._update(webhook, fields) if fields else set()
        if enabled is True:
            webhook.enabled = True
            webhook.disabled_at = webhook.disabled_by = webhook.disabled_reason = None
            self._changed(webhook)
            self._open_gate(webhook)
        elif enabled is False and (check_text("reason", reason) is not None or webhook.enabled):
            webhook.enabled = False
            _disabled(webhook, by, reason)
            self._changed(webhook)
        if webhook.version != version:
            switched = Action.WEBHOOK_ENABLED if enabled else Action.WEBHOOK_DISABLED
            changed = {"changed": changed_fields(before, fields_now(webhook), secrets)}
            self._note(webhook, by, Action.WEBHOOK_CHANGED if fields else switched, changed)
        return webhook

    def rotate_signing_key(self, webhook: Webhook, new: SigningKey, *, overlap: timedelta, by: Actor) -> Webhook:
        """From now on it signs with the new key, and until the overlap is over with those before it as well. Raises
        InvalidWebhook."""
        now = self._session.scalars(select(func.now())).one()
        keys = rotate(self.secrets(webhook).signing_keys, check_signing_key(new.secret), overlap=overlap, now=now)
        self._update(webhook, {"signing_keys": keys})
        rotated = {"kind": new.kind, "overlap_seconds": overlap.total_seconds()}
        self._note(webhook, by, Action.WEBHOOK_KEY_ROTATED, rotated)
        return webhook

    def delete(self, webhook: Webhook, *, by: Actor) -> None:
        """Soft: its secrets are wiped and its name is free again; its deliveries stay listable, open ones end."""
        self._session.execute(delete(Subscription).where(Subscription.webhook_id == webhook.id))
        self._open_gate(webhook)
        self._drop_token(webhook)
        webhook.deleted_at = func.now()
        webhook.url_ciphertext = webhook.url_given_ciphertext = webhook.url_digest = None
        webhook.secrets_ciphertext = None
        self._changed(webhook)
        self._note(webhook, by, Action.WEBHOOK_DELETED, {"name": webhook.name, "url": webhook.url_masked})

    def gates(self, webhooks: Iterable[Webhook]) -> dict[UUID, Gate]:
        """What is known of those whose last attempt failed, by webhook id."""
        wanted = select(Gate).where(Gate.webhook_id.in_([webhook.id for webhook in webhooks]))
        return {gate.webhook_id: gate for gate in self._session.scalars(wanted)}

    def url(self, webhook: Webhook) -> str:
        """The URL in clear, as it was given: to be shown. Raises NotFound once the webhook is deleted."""
        if webhook.url_given_ciphertext is not None:
            return self._vault.decrypt(webhook.url_given_ciphertext)
        return self.called_url(webhook)

    def called_url(self, webhook: Webhook) -> str:
        """The URL in clear, in the form in which it is called and compared. Raises NotFound once the webhook is
        deleted."""
        if webhook.url_ciphertext is None:
            raise NotFound("webhook", webhook.id)
        return self._vault.decrypt(webhook.url_ciphertext)

    def secrets(self, webhook: Webhook) -> WebhookSecrets:
        """All others of its secrets in clear."""
        return read_secrets(self._vault.decrypt_document(webhook.secrets_ciphertext))

    def _update(self, webhook: Webhook, fields: WebhookFields) -> set[str]:
        if "contract_changes" in fields:
            merged = {**webhook.contract, **fields["contract_changes"]}
            fields["contract"] = {member: value for member, value in merged.items() if value is not None}
        secrets = self._apply(webhook, fields)
        self._pace(self._changed(webhook))
        if "url" in fields or "contract" in fields:
            self._open_gate(webhook)
        if "authorization" in fields:
            self._drop_token(webhook)
        if "event_types" in fields or "app" in fields:
            self._session.execute(delete(Subscription).where(Subscription.webhook_id == webhook.id))
            self._subscribe(webhook)
        return secrets

    def _apply(self, webhook: Webhook, fields: WebhookFields) -> set[str]:
        """Returns the names of the secrets that changed."""
        if "url" in fields:
            given = fields["url"]
            url = normalise_url(given)
            self._check_origin("url", url)
            webhook.url_masked = mask_url(given)
            webhook.url_ciphertext = self._vault.encrypt(url)
            webhook.url_given_ciphertext = self._vault.encrypt(given) if given != url else None
            webhook.url_digest = self._digest(url)
        if "event_types" in fields:
            # A dialect can have webhooks that only exist.
            webhook.event_types = check_event_types(fields["event_types"], least=0 if webhook.dialect else 1)
        if "name" in fields:
            webhook.name = check_text("name", fields["name"])
        if "app" in fields:
            webhook.app = check_text("app", fields["app"])
        if "contact_email" in fields:
            webhook.contact_email = check_email(fields["contact_email"])
        if "contract" in fields:
            contract = read_contract(fields["contract"])
            webhook.contract = write_contract(contract)
            webhook.retry_span = SCHEDULES[contract.schedule].span
            webhook.batch_size, webhook.rate_limit = contract.batch_size, contract.rate_limit
        if "url" in fields or "contract" in fields:
            _check_scheme(webhook)
        if "dialect_fields" in fields:
            webhook.dialect_fields = fields["dialect_fields"]
        if "contract" not in fields and not any(name in fields for name in SECRETS):
            return set()
        contract, kept = contract_of(webhook), self.secrets(webhook)
        secrets = changed_secrets(kept, fields, contract)
        if isinstance(secrets.authorization, ClientCredentials):
            endpoint = secrets.authorization.endpoint
            self._check_origin("client_credentials.endpoint", endpoint, https_only=contract.https_only)
        webhook.secrets_ciphertext = self._vault.encrypt_document(write_secrets(secrets))
        return {name for name in SECRETS if getattr(kept, name) != getattr(secrets, name)}

    def _note(self, webhook: Webhook, by: Actor, action: Action, detail: Mapping[str, object]) -> None:
        audit.write(self._session, by, action, webhook.id, account=webhook.account_id, detail=detail)

    def _digest(self, url: str) -> bytes:
        return url_digest(self._vault.digest_secret, url)

    def _check_origin(self, field: str, url: str, *, https_only: bool = False) -> None:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        reason = self._addresses.refused_origin(parts.scheme, parts.hostname or "", port, https_only=https_only)
        if reason is not None:
            raise InvalidWebhook(field, f"may not be called: {reason}")

    def _subscribe(self, webhook: Webhook) -> None:
        self._session.add_all(
            Subscription(webhook_id=webhook.id, event_type=name, account_id=webhook.account_id, app=webhook.app)
            for name in webhook.event_types
        )
        self._session.flush()

    def _pace(self, webhook: Webhook) -> None:
        if webhook.rate_limit is not None:
            self._session.execute(insert(Rate).values(webhook_id=webhook.id).on_conflict_do_nothing())

    def _open_gate(self, webhook: Webhook) -> None:
        self._session.execute(delete(Gate).where(Gate.webhook_id == webhook.id))

    def _drop_token(self, webhook: Webhook) -> None:
        self._session.execute(delete(Token).where(Token.webhook_id == webhook.id))

    def _changed(self, webhook: Webhook) -> Webhook:
        webhook.version = Webhook.version + 1
        webhook.updated_at = func.now()
        self._flush()
        self._session.refresh(webhook)
        return webhook

    def _flush(self) -> None:
        try:
            self._session.flush()
        except IntegrityError:
            raise NameTaken("the account has a webhook of this name already") from None


def _disabled(webhook: Webhook, by: Actor, reason: str | None) -> None:
    webhook.disabled_at, webhook.disabled_by, webhook.disabled_reason = func.now(), str(by), reason


def _standing(account: Account) -> tuple[ColumnElement[bool], ...]:
    return Webhook.account_id == account.id, Webhook.deleted_at.is_(None)


def contract_of(webhook: Webhook) -> DeliveryContract:
    """Its contract with every default filled in."""
    return read_contract(webhook.contract)


def _check_scheme(webhook: Webhook) -> None:
    if contract_of(webhook).https_only and not webhook.url_masked.lower().startswith("https:"):
        raise InvalidWebhook("url", "must begin with https://, for the contract says https_only")
