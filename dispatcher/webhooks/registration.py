"""Makes and changes webhooks, for every management API and the command line: checked as a whole, verified if that is
asked for, then written in one transaction."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple, TypeAlias, Unpack
from uuid import UUID

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account, Webhook
from dispatcher.errors import Overtaken, UrlVerificationFailed, WrongState
from dispatcher.installation import Installation
from dispatcher.signing.keys import SigningKey, check_signing_key, generate_signing_key, rotate
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.fields import Checked, WebhookFields, check, check_text
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.secrets import WebhookSecrets
from dispatcher.webhooks.store import AccountKey, Webhooks
from dispatcher.webhooks.url_verification import takes_url_verification, try_url

# What a dialect requires of the account's other webhooks, such as a limit on their number; it may raise any error. It
# is called while the account's webhooks cannot change, and also before a URL verification.
Precondition: TypeAlias = Callable[[Webhooks, Account], None]
# Called when a URL verification is about to be made; it may raise any error.
BeforeVerification: TypeAlias = Callable[[], None]
# Makes the fields of a change from the stored webhook; it may raise any error. The fields are written only if the
# webhook is then still the same; it may be called twice.
Derive: TypeAlias = Callable[[Registered], WebhookFields]
# What a dialect requires of a change of its webhook that is made another way; it may raise any error. It is called when
# a `Precondition` is.
Rule: TypeAlias = Callable[[Webhooks, Registered, Checked], None]


def register(
    installation: Installation,
    account: AccountKey,
    *,
    by: Actor,
    enabled: bool = True,
    dialect: str | None = None,
    url_verification: bool = False,
    before_verification: BeforeVerification | None = None,
    precondition: Precondition | None = None,
    **fields: Unpack[WebhookFields],
) -> Registered:
    """Makes a webhook for an account. Its callbacks are signed with a new HMAC key, unless `signing_keys` is given.
    `dialect` is the vendor's management API that it is made through. With `url_verification` its URL must answer first,
    unless it is made disabled or its callbacks are of another kind than the verification request.

    Raises InvalidWebhook (including UrlVerificationFailed), NameTaken, AtQuota, UnknownAccount, TooBusy, or what
    `precondition` and `before_verification` raise; then nothing is written, and no number is used up.
    """
    fields = {"signing_keys": [generate_signing_key()], **fields}
    checked = check(fields, installation.addresses, dialect=dialect)
    name = fields.get("name")
    if url_verification and enabled:
        url, contract, secrets = checked.url, checked.contract, checked.secrets
        assert url is not None and contract is not None and secrets is not None  # noqa: PT018 - a new webhook has all
        if takes_url_verification(contract):
            with installation.transaction() as session:
                webhooks = Webhooks(session, installation)
                owner = webhooks.owner(account)
                if precondition is not None:
                    precondition(webhooks, owner)
                webhooks.refuse_one_more(owner)
                webhooks.refuse_taken(owner.id, name)
            if before_verification is not None:
                before_verification()
            try_url(url.called, contract, secrets, installation, owner.id)
    with installation.transaction() as session:
        webhooks = Webhooks(session, installation)
        owner = webhooks.owner(account, lock=True)
        if precondition is not None:
            precondition(webhooks, owner)
        webhooks.refuse_one_more(owner)
        webhooks.refuse_taken(owner.id, name)
        return webhooks.insert(owner, checked, by=by, enabled=enabled, dialect=dialect)


def change(
    installation: Installation,
    account: AccountKey | None,
    identifier: UUID | int,
    *,
    by: Actor,
    dialect: str | None = None,
    enabled: bool | None = None,
    reason: str | None = None,
    url_verification: bool = False,
    before_verification: BeforeVerification | None = None,
    precondition: Precondition | None = None,
    rule: Rule | None = None,
    derive: Derive | None = None,
    **fields: Unpack[WebhookFields],
) -> Registered:
    """Changes what is given, including `enabled`, and wakes the workers: deliveries may have waited for it. The webhook
    is found by its id or number, in any account if `account` is None; with `dialect` only one that was made through it.
    `reason` is stored if it is disabled. `derive` returns fields that depend on the stored webhook.
    A caller that changes fields without `dialect` gives a `rule`, for webhooks that were made through a dialect.

    Raises as `register` does, what `derive` and `rule` raise, NotFound, and Overtaken if others changed the webhook
    while its URL was verified, and did so again.
    """
    if enabled is False:
        check_text("reason", reason)

    def all_fields(kept: Registered) -> WebhookFields:
        changed: WebhookFields = {**fields, **derive(kept)} if derive is not None else fields
        assert not changed or rule is not None or kept.webhook.dialect in {None, dialect}
        return changed

    order = _Order(by, all_fields, enabled=enabled, reason=reason, precondition=precondition, rule=rule)
    return _change(
        installation,
        account,
        identifier,
        order,
        dialect=dialect,
        url_verification=url_verification,
        before_verification=before_verification,
    )


def rotate_signing_key(
    installation: Installation,
    account: AccountKey | None,
    identifier: UUID,
    new: SigningKey,
    *,
    overlap: timedelta,
    by: Actor,
) -> Registered:
    """Makes a webhook sign with a new key, and with the older ones until the overlap is over. Raises NotFound and
    InvalidWebhook."""
    checked_key = check_signing_key(new.secret)

    def with_new_key(kept: Registered) -> WebhookFields:
        assert kept.read_at is not None
        return {"signing_keys": rotate(kept.secrets.signing_keys, checked_key, overlap=overlap, now=kept.read_at)}

    noted = Action.WEBHOOK_KEY_ROTATED, {"kind": new.kind, "overlap_seconds": overlap.total_seconds()}
    return _change(installation, account, identifier, _Order(by, with_new_key, noted=noted))


def release(installation: Installation, account: AccountKey | None, identifier: UUID, *, by: Actor) -> Registered:
    """Takes a quarantined webhook up again, unchanged, and wakes the workers: what they could not read may be readable
    by now. One that is not quarantined stays as it is. Raises NotFound."""
    with installation.transaction() as session:
        webhooks = Webhooks(session, installation)
        kept = webhooks.read(account, identifier, lock=True)
        if kept.webhook.quarantined_at is None:
            return kept
        released = webhooks.release(kept, by=by)
    installation.waker.wake()
    return released


def remove(
    installation: Installation,
    account: AccountKey | None,
    identifier: UUID | int,
    *,
    by: Actor,
    dialect: str | None = None,
) -> Webhook:
    """Deletes a webhook after waiting for any concurrent change to finish. Raises NotFound."""
    with installation.transaction() as session:
        webhooks = Webhooks(session, installation)
        return webhooks.delete(webhooks.read(account, identifier, dialect=dialect, lock=True), by=by)


def verify_url(
    installation: Installation,
    account: AccountKey | None,
    identifier: UUID,
    *,
    by: Actor,
    before_verification: BeforeVerification | None = None,
) -> str:
    """Verifies a webhook's URL alone, also of a disabled one; nothing of it changes. Returns the status that came back,
    with its phrase. Raises NotFound, UrlVerificationFailed, AccountAtLimit, TooBusy, WrongState for a webhook whose
    callbacks are of another kind than the verification request, and what `before_verification` raises."""
    with installation.transaction() as session:
        kept = Webhooks(session, installation).read(account, identifier)
        if not takes_url_verification(kept.contract):
            raise WrongState("its callbacks are no arrays in a body, so the URL verification does not fit them")
        url, contract, secrets, owner = kept.called_url, kept.contract, kept.secrets, kept.owner.id
    if before_verification is not None:
        before_verification()
    try:
        came_back = try_url(url, contract, secrets, installation, owner)
    except UrlVerificationFailed as failed:
        _note_verification(installation, by, identifier, owner, failed.came_back)
        raise
    _note_verification(installation, by, identifier, owner, came_back)
    return came_back


def _note_verification(installation: Installation, by: Actor, webhook: UUID, owner: UUID, came_back: str) -> None:
    with installation.transaction() as session:
        detail = {"url_verification": came_back}
        audit.write(session, by, Action.WEBHOOK_TESTED, webhook, account=owner, detail=detail)


class _Order(NamedTuple):
    """A change to be made."""

    by: Actor
    fields: Derive
    enabled: bool | None = None
    reason: str | None = None
    precondition: Precondition | None = None
    rule: Rule | None = None
    noted: tuple[Action, Mapping[str, object]] | None = None

    def changes(self, kept: Registered, checked: Checked) -> bool:
        """Whether there is anything to write: to disable a disabled webhook, only a new reason."""
        disables = self.enabled is False and (self.reason is not None or kept.webhook.enabled)
        return bool(checked.given) or self.enabled is True or disables

    def refuse(self, webhooks: Webhooks, kept: Registered, checked: Checked) -> None:
        """Raises if its dialect or the account's other webhooks do not allow the change."""
        if self.precondition is not None:
            self.precondition(webhooks, kept.owner)
        if self.rule is not None:
            self.rule(webhooks, kept, checked)
        webhooks.refuse_taken(kept.owner.id, checked.plain.get("name"), excluding=kept.id)

    def write(self, webhooks: Webhooks, kept: Registered, checked: Checked) -> Registered | None:
        """None if the webhook has changed since it was read."""
        self.refuse(webhooks, kept, checked)
        return webhooks.update(kept, checked, by=self.by, enabled=self.enabled, reason=self.reason, noted=self.noted)


_Tried: TypeAlias = tuple[str, DeliveryContract, WebhookSecrets]


def _change(
    installation: Installation,
    account: AccountKey | None,
    identifier: UUID | int,
    order: _Order,
    *,
    dialect: str | None = None,
    url_verification: bool = False,
    before_verification: BeforeVerification | None = None,
) -> Registered:
    tried = None
    for again in (False, True):
        with installation.transaction() as session:
            webhooks = Webhooks(session, installation)
            # The second round locks the webhook, so that it is the last, unless there is something new to try.
            kept = webhooks.read(account, identifier, dialect=dialect, lock=again)
            checked = check(order.fields(kept), installation.addresses, dialect=kept.webhook.dialect, kept=kept)
            if not order.changes(kept, checked):
                return kept
            to_try = _what_to_try(kept, checked, enabled=order.enabled) if url_verification else None
            is_tried = to_try is None or to_try == tried
            written = order.write(webhooks, kept, checked) if again and is_tried else None
            if not is_tried:
                order.refuse(webhooks, kept, checked)
        if to_try is not None and not is_tried:
            if before_verification is not None:
                before_verification()
            try_url(*to_try, installation, kept.owner.id)
            tried = to_try
        if written is None:
            with installation.transaction() as session:
                webhooks = Webhooks(session, installation)
                webhooks.owner(kept.owner.id, lock=True)
                written = order.write(webhooks, kept, checked)
        if written is not None:
            installation.waker.wake()
            return written
    raise Overtaken("others changed the webhook at the same time: check it, and try again")


def _what_to_try(kept: Registered, checked: Checked, *, enabled: bool | None) -> _Tried | None:
    contract = checked.contract or kept.contract
    if not (kept.webhook.enabled if enabled is None else enabled) or not takes_url_verification(contract):
        return None
    url = checked.url.called if checked.url is not None else kept.called_url
    return url, contract, checked.secrets or kept.secrets
