"""Webhooks as rows: find, insert, update, delete. What is written has been checked (`fields`), under the account's
lock; the audit log entry of a change is written in the same transaction."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_leave
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.accounts import find_account, is_name
from dispatcher.accounts.actor import Actor, told
from dispatcher.accounts.audit import Action
from dispatcher.accounts.limits import refuse_one_more
from dispatcher.accounts.recipients import forget_contact, name_contact
from dispatcher.db.models import Account, BulkRedelivery, CircuitBreaker, Rate, Subscription, Token, Webhook
from dispatcher.db.pages import along, page_of
from dispatcher.egress.urls import comparable_url, normalise_url
from dispatcher.encryption.vault import Place, destination, url_digest
from dispatcher.errors import NameTaken, NotFound, UnknownAccount, Unreadable
from dispatcher.installation import Installation
from dispatcher.settings.quotas import Quota
from dispatcher.webhooks.changes import changed_fields, fields_now
from dispatcher.webhooks.contract import FORMAT, write_contract
from dispatcher.webhooks.fields import Checked
from dispatcher.webhooks.registered import Registered, known_of
from dispatcher.webhooks.secrets import write_secrets
from schedules.catalog import SCHEDULES

NATIVE = "native"  # in place of a dialect's name: webhooks of no dialect

# Columns with secrets, or with what secrets could be guessed by: None once a webhook is deleted.
CIPHERTEXTS = ("url_ciphertext", "url_given_ciphertext", "secrets_ciphertext")
WIPED = (*CIPHERTEXTS, "url_digest", "destination", "destination_of")

_TAKEN_UP: Mapping[str, None] = {"quarantined_at": None, "quarantined_reason": None}

AccountKey: TypeAlias = UUID | str  # an account's id, or its name


class Webhooks:
    """The webhooks of an installation, in one transaction."""

    def __init__(self, session: Session, installation: Installation) -> None:
        """Raises ConfigurationError if the encryption keys do not match."""
        self._session = session
        self._vault, self._clock = installation.vault, installation.clock
        self._limits = installation.settings.default_limits

    def owner(self, account: AccountKey, *, lock: bool = False) -> Account:
        """The account. With `lock` other changes to its webhooks wait. Raises UnknownAccount."""
        query = select(Account).where(Account.name == account if isinstance(account, str) else Account.id == account)
        query = query.where(Account.deleted_at.is_(None))
        if lock:
            query = query.with_for_update()
        found = self._session.scalar(query) if not isinstance(account, str) or is_name(account) else None
        if found is None:
            raise UnknownAccount(account)
        return found

    def read(
        self,
        account: AccountKey | None,
        identifier: UUID | int,
        *,
        dialect: str | None = None,
        deleted: bool = False,
        lock: bool = False,
    ) -> Registered:
        """A webhook by its id or its number, with all that belongs to it; in any account if `account` is None; with
        `dialect` only one that was made through it, with `deleted` also one that is deleted. With `lock` the webhook
        and its account do not change until the transaction ends. Raises NotFound, including UnknownAccount."""
        if isinstance(account, str):
            account = find_account(self._session, account).id
        wanted = [Webhook.number == identifier if isinstance(identifier, int) else Webhook.id == identifier]
        if not deleted:
            wanted.append(Webhook.deleted_at.is_(None))
        if account is not None:
            wanted.append(Webhook.account_id == account)
        if dialect is not None:
            wanted.append(Webhook.dialect == dialect)
        query = select(Webhook, Account, CircuitBreaker, func.now()).join(Account, Account.id == Webhook.account_id)
        query = query.outerjoin(CircuitBreaker, CircuitBreaker.webhook_id == Webhook.id).where(*wanted)
        if lock:
            owners = select(Account).join(Webhook, Webhook.account_id == Account.id).where(*wanted)
            self._session.scalar(owners.with_for_update(of=Account))
            query = query.with_for_update(of=Webhook)
        found = self._session.execute(query.execution_options(populate_existing=True)).one_or_none()
        if found is None:
            raise NotFound("webhook", identifier)
        webhook, owner, breaker, now = found
        return Registered(webhook, owner, breaker, self._vault, read_at=now)

    def refuse_one_more(self, owner: Account) -> None:
        """Raises AtQuota if the account has as many webhooks as it may."""
        refuse_one_more(self._session, owner, Quota.WEBHOOKS, self._limits)

    def refuse_taken(self, account: UUID, name: str | None, *, excluding: UUID | None = None) -> None:
        """Raises NameTaken if another webhook of the account has the name."""
        wanted = Webhook.account_id == account, Webhook.name == name, Webhook.deleted_at.is_(None)
        query = select(Webhook.id).where(*wanted)
        if excluding is not None:
            query = query.where(Webhook.id != excluding)
        if name is not None and self._session.scalar(query) is not None:
            raise NameTaken("the account already has a webhook with this name")

    def insert(
        self, owner: Account, checked: Checked, *, by: Actor, enabled: bool = True, dialect: str | None = None
    ) -> Registered:
        """Writes a new webhook. The caller has locked the account and checked that the name is free."""
        identifier = self._clock.new_id()
        columns: dict[str, Any] = {
            "id": identifier,
            "account_id": owner.id,
            "account_no": owner.number,
            "dialect": dialect,
            "enabled": enabled,
            "dialect_fields": {},
        }
        if not enabled:
            columns |= _disabled(by, "registered disabled")
        statement = insert(Webhook).values(columns | self._columns(checked, identifier)).returning(Webhook)
        webhook = self._session.scalars(statement).one()
        self._subscribe(webhook)
        self._pace(webhook)
        self._name_contact(None, webhook, by)
        changed = changed_fields({"dialect_fields": {}}, fields_now(webhook), checked.changed_secrets)
        self._note(webhook, by, Action.WEBHOOK_CREATED, {"changed": changed})
        return Registered(webhook, owner, None, self._vault, known=known_of(checked))

    def update(
        self,
        kept: Registered,
        checked: Checked,
        *,
        by: Actor,
        enabled: bool | None = None,
        reason: str | None = None,
        noted: tuple[Action, Mapping[str, object]] | None = None,
    ) -> Registered | None:
        """Writes a change of the webhook as it was read; returns None and writes nothing if it has changed since.
        Waiting deliveries use the new version at their next attempt. A new URL or contract deserves a new try: an open
        circuit closes. Enabling closes it, too, and what waited is delivered. While the webhook is disabled, events
        still match and their deliveries wait until their schedule's whole span has passed. Disabling it again keeps who
        disabled it and when, unless there is a new reason. `noted`: what the audit log says instead of the usual.
        Raises Unreadable for fields of a webhook that a newer version wrote in a format of its own."""
        if checked.given and kept.webhook.format > FORMAT:
            raise Unreadable("a newer version wrote the webhook in a format that this one cannot change")
        columns = self._columns(checked, kept.id)
        if enabled is True:
            columns |= {"enabled": True} | dict.fromkeys(("disabled_at", "disabled_by", "disabled_reason"))
        elif enabled is False and (reason is not None or kept.webhook.enabled):
            columns |= {"enabled": False} | _disabled(by, reason)
        before, contact = fields_now(kept.webhook), kept.webhook.contact_email
        respelled = checked.url is not None and checked.url.masked == kept.url_masked and kept.differs(checked.url)
        webhook = self._write(kept.webhook, columns)
        if webhook is None:
            return None
        breaker = kept.circuit_breaker
        if checked.url is not None or checked.contract is not None or enabled is True:
            self._close_circuit(webhook)
            breaker = None
        if checked.contract is not None:
            self._pace(webhook)
        if "authorization" in checked.given:
            self._drop_token(webhook)
        if "contact_email" in checked.given:
            self._name_contact(contact, webhook, by)
        if "event_types" in checked.given or "app" in checked.given:
            self._unsubscribe(webhook)
            self._subscribe(webhook)
        switched = Action.WEBHOOK_ENABLED if enabled else Action.WEBHOOK_DISABLED
        changed = changed_fields(before, fields_now(webhook), checked.changed_secrets, respelled=respelled)
        # Fields that are given as they were changed nothing, unless they closed a circuit.
        if noted or changed or not checked.given or kept.circuit_breaker is not breaker:
            usual = Action.WEBHOOK_CHANGED if checked.given else switched, {"changed": changed}
            self._note(webhook, by, *(noted or usual))
        return kept.written(webhook, breaker, checked)

    def release(self, kept: Registered, *, by: Actor) -> Registered:
        """Makes workers read a locked, quarantined webhook anew; nothing else of it changes."""
        reason = kept.webhook.quarantined_reason
        webhook = self._write(kept.webhook, {})
        if webhook is None:
            raise NotFound("webhook", kept.id)
        self._note(webhook, by, Action.WEBHOOK_RELEASED, {"quarantined_reason": reason})
        return self.opened(webhook, kept.owner, kept.circuit_breaker)

    def delete(self, kept: Registered, *, by: Actor) -> Webhook:
        """Soft-deletes a locked webhook: its secrets, and what else can be long, are wiped and its name is free again;
        its deliveries can still be listed, open ones end."""
        wiped = dict.fromkeys(WIPED) | {"event_types": [], "contract": {}, "dialect_fields": {}}
        webhook = self._write(kept.webhook, {"deleted_at": func.now(), **wiped})
        if webhook is None:
            raise NotFound("webhook", kept.id)
        self._unsubscribe(webhook)
        self._close_circuit(webhook)
        self._drop_token(webhook)
        if webhook.contact_email is not None:
            forget_contact(self._session, webhook.account_id, webhook.contact_email)
        self._note(webhook, by, Action.WEBHOOK_DELETED, {"name": webhook.name, "url": webhook.url_masked})
        return webhook

    def opened(self, webhook: Webhook, owner: Account, breaker: CircuitBreaker | None) -> Registered:
        """A webhook of a list, as `read` returns one."""
        return Registered(webhook, owner, breaker, self._vault)

    def get(self, account: Account, identifier: UUID, *, deleted: bool = False) -> Webhook:
        """Raises NotFound for a webhook that is deleted (unless `deleted`), unknown, or another account's."""
        webhook = self._session.get(Webhook, identifier)
        if webhook is None or webhook.account_id != account.id or (webhook.deleted_at is not None and not deleted):
            raise NotFound("webhook", identifier)
        return webhook

    def get_of(self, dialect: str, account: Account, identifier: UUID | int) -> Webhook:
        """A webhook that was made through this dialect, by its id or its number. Raises NotFound."""
        column = Webhook.number if isinstance(identifier, int) else Webhook.id
        wanted = self._wanted(account, dialect, None, None)
        webhook = self._session.scalar(select(Webhook).where(column == identifier, *wanted))
        if webhook is None:
            raise NotFound("webhook", identifier)
        return webhook

    def list(
        self, account: Account, *, dialect: str | None = None, app: str | None = None, url: str | None = None
    ) -> Sequence[Webhook]:
        """The account's webhooks, oldest first, without deleted ones: all, or those of one dialect (or NATIVE), app or
        URL (in any equivalent spelling). Raises InvalidWebhook for anything but a URL."""
        wanted = self._wanted(account, dialect, app, url)
        return self._session.scalars(select(Webhook).where(*wanted).order_by(Webhook.id)).all()

    def event_types(
        self, account: Account, dialect: str, *, app: str | None = None, url: str | None = None
    ) -> dict[UUID, Sequence[str]]:
        """The event types of the same webhooks, by their ids: there can be a thousand, and others may wait."""
        query = select(Webhook.id, Webhook.event_types).where(*self._wanted(account, dialect, app, url))
        return {row.id: row.event_types for row in self._session.execute(query)}

    def piece(
        self, account: Account, dialect: str, *, app: str | None, after: UUID | None, limit: int
    ) -> Sequence[Webhook]:
        """The next of the account's webhooks of a dialect, or of one app, oldest first, without deleted ones."""
        first = (Webhook.app, app) if app is not None else (Webhook.dialect, dialect)
        columns: dict[Any, object] = {Webhook.account_id: account.id, first[0]: first[1]}
        wanted, _, order = along(columns, Webhook.id, after=after, oldest_first=True)
        # Said once more, for how few the planner believes them to be.
        query = select(Webhook).where(*wanted, *self._wanted(None, dialect, None, None), first[0] == first[1])
        return self._session.scalars(query.order_by(*order).limit(limit)).all()

    def page(
        self,
        account: Account | None,
        *,
        dialect: str | None = None,
        app: str | None = None,
        enabled: bool | None = None,
        quarantined: bool | None = None,
        url: str | None = None,
        before: UUID | None = None,
        limit: int,
    ) -> tuple[Sequence[Webhook], UUID | None]:
        """A page of the account's webhooks (None: all accounts'), newest first, without deleted ones, and the `before`
        of the next page (None: there is none). `dialect` may be NATIVE; `url` is the whole URL, in any equivalent
        spelling. App, dialect and URL have an index; with other filters, or several, a page is made from the next
        10,000 webhooks, and can be short or empty although there are older ones. Raises InvalidWebhook for anything but
        a URL."""
        columns: dict[Any, object] = {Webhook.account_id: account.id} if account is not None else {}
        if account is not None and app is not None and url is None:
            columns[Webhook.app] = app
        elif account is not None and dialect not in {None, NATIVE} and url is None:
            columns[Webhook.dialect] = dialect
        wanted, keys, _ = along(columns, Webhook.id, before=before)
        if account is not None and url is not None:
            wanted = [Webhook.account_id == account.id, self._has_url(url)]
            wanted += [Webhook.id < before] if before is not None else []
        kept = (Webhook.dialect, Webhook.app, Webhook.enabled, Webhook.quarantined_at, Webhook.deleted_at)
        query: Any = select(Webhook.id, *kept).where(*wanted)
        if account is not None:
            query = query.where(Webhook.deleted_at.is_(None))
        for column in (Webhook.app, Webhook.dialect):
            if column in columns:
                query = query.where(column == columns[column])  # for how few the planner believes them to be

        def fits(row: Any) -> Sequence[ColumnElement[bool]]:
            found = [] if account is not None else [row.deleted_at.is_(None)]
            if dialect is not None and Webhook.dialect not in columns:
                found.append(row.dialect.is_(None) if dialect == NATIVE else row.dialect == dialect)
            if app is not None and Webhook.app not in columns:
                found.append(row.app == app)
            if enabled is not None:
                found.append(row.enabled.is_(enabled))
            if quarantined is not None:
                found.append(row.quarantined_at.is_not(None) if quarantined else row.quarantined_at.is_(None))
            return found

        rows, older = page_of(self._session, query, keys, fits, limit=limit)
        whole = select(Webhook).where(Webhook.id.in_([row.id for row in rows])).order_by(Webhook.id.desc())
        return self._session.scalars(whole).all(), older

    def owners(self, things: Iterable[Webhook | BulkRedelivery]) -> dict[UUID, Account]:
        """The accounts of these webhooks or bulk redeliveries, by id."""
        wanted = select(Account).where(Account.id.in_({thing.account_id for thing in things}))
        return {account.id: account for account in self._session.scalars(wanted)}

    def circuit_breakers(self, webhooks: Iterable[Webhook]) -> dict[UUID, CircuitBreaker]:
        """The circuit breakers of those whose last attempt failed, by webhook id."""
        wanted = select(CircuitBreaker).where(CircuitBreaker.webhook_id.in_([webhook.id for webhook in webhooks]))
        return {breaker.webhook_id: breaker for breaker in self._session.scalars(wanted)}

    def _wanted(
        self, account: Account | None, dialect: str | None, app: str | None, url: str | None
    ) -> Iterator[ColumnElement[bool]]:
        if account is not None:
            yield Webhook.account_id == account.id
        yield Webhook.deleted_at.is_(None)
        if dialect is not None:
            yield Webhook.dialect.is_(None) if dialect == NATIVE else Webhook.dialect == dialect
        if app is not None:
            yield Webhook.app == app
        if url is not None:
            yield self._has_url(url)

    def _columns(self, checked: Checked, webhook: UUID) -> dict[str, Any]:
        called, given, secrets = (Place("webhooks", column, webhook) for column in CIPHERTEXTS)
        columns = dict(checked.plain)
        if (url := checked.url) is not None:
            columns["url_masked"] = url.masked
            columns[called.column] = self._vault.encrypt(url.called, called)
            columns[given.column] = self._vault.encrypt(url.given, given) if url.given != url.called else None
            columns["url_digest"] = columns["destination_of"] = self._digest(comparable_url(url.called))
            columns["destination"] = destination(self._vault.digest_secret, url.called)
        if (contract := checked.contract) is not None:
            columns["contract"] = write_contract(contract)
            columns["retry_span"] = SCHEDULES[contract.schedule].span
            columns["batch_size"], columns["rate_limit"] = contract.batch_size, contract.rate_limit
        if checked.contract is not None or checked.secrets is not None:
            columns["format"] = FORMAT
        if checked.secrets is not None:
            columns[secrets.column] = self._vault.encrypt_document(write_secrets(checked.secrets), secrets)
        return columns

    def _write(self, webhook: Webhook, columns: dict[str, Any]) -> Webhook | None:
        """Writes these columns if the webhook has not changed since it was read; returns the new row. Workers read it
        anew, also if it was quarantined."""
        wanted = Webhook.id == webhook.id, Webhook.version == webhook.version  # a deletion is a new version, too
        changed = {**columns, "version": Webhook.version + 1, "updated_at": func.now(), **_TAKEN_UP}
        statement = update(Webhook).where(*wanted).values(changed).returning(Webhook)
        options = {"synchronize_session": False, "populate_existing": True}
        return self._session.scalars(statement, execution_options=options).one_or_none()

    def _note(self, webhook: Webhook, by: Actor, action: Action, detail: Mapping[str, object]) -> None:
        audit.write(self._session, by, action, webhook.id, account=webhook.account_id, detail=detail)

    def _has_url(self, url: str) -> ColumnElement[bool]:
        called = normalise_url(url)
        # The second is what versions before 0.2 stored.
        return Webhook.url_digest.in_([self._digest(comparable_url(called)), self._digest(called)])

    def _digest(self, url: str) -> bytes:
        return url_digest(self._vault.digest_secret, url)

    def _subscribe(self, webhook: Webhook) -> None:
        own = {"webhook_id": webhook.id, "account_id": webhook.account_id, "app": webhook.app}
        if webhook.event_types:
            rows = [{**own, "event_type": name} for name in webhook.event_types]
            self._session.execute(insert(Subscription).values(rows))

    def _unsubscribe(self, webhook: Webhook) -> None:
        self._session.execute(delete(Subscription).where(Subscription.webhook_id == webhook.id))

    def _pace(self, webhook: Webhook) -> None:
        if webhook.rate_limit is not None:
            self._session.execute(insert_or_leave(Rate).values(webhook_id=webhook.id).on_conflict_do_nothing())

    def _name_contact(self, before: str | None, webhook: Webhook, by: Actor) -> None:
        named = webhook.contact_email
        if named is not None:
            name_contact(self._session, webhook.account_id, named, by=by)
        if before is not None and (named is None or named.lower() != before.lower()):
            forget_contact(self._session, webhook.account_id, before)

    def _close_circuit(self, webhook: Webhook) -> None:
        self._session.execute(delete(CircuitBreaker).where(CircuitBreaker.webhook_id == webhook.id))

    def _drop_token(self, webhook: Webhook) -> None:
        self._session.execute(delete(Token).where(Token.webhook_id == webhook.id))


def _disabled(by: Actor, reason: str | None) -> dict[str, Any]:
    return {"disabled_at": func.now(), "disabled_by": told(by), "disabled_reason": reason}
