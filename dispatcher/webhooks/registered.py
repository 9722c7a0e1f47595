"""A stored webhook as it is read, changed and shown. What its row holds may be damaged, or of a newer version."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from dispatcher.db.models import Account, CircuitBreaker, Webhook
from dispatcher.encryption.vault import EncryptionKeys, Place
from dispatcher.errors import InvalidWebhook, NotFound, Unreadable, WrongEncryptionKey
from dispatcher.webhooks.contract import FORMAT, DeliveryContract, read_stored_contract
from dispatcher.webhooks.fields import Checked, CheckedUrl
from dispatcher.webhooks.secrets import WebhookSecrets, read_secrets


class Registered:
    """A stored webhook with its account and, if the last attempt failed, its circuit breaker. Its secrets are decrypted
    when they are asked for, each once; after a write they are known without that."""

    def __init__(
        self,
        webhook: Webhook,
        owner: Account,
        breaker: CircuitBreaker | None,
        vault: EncryptionKeys,
        *,
        read_at: datetime | None = None,
        known: Mapping[str, object] | None = None,
    ) -> None:
        """`read_at` is the database's time; `known` has members that need not be decrypted or read, by name."""
        self.webhook, self.owner, self.circuit_breaker, self.read_at = webhook, owner, breaker, read_at
        self._vault = vault
        vars(self).update(known or {})

    @property
    def id(self) -> UUID:
        return self.webhook.id

    @property
    def url_masked(self) -> str:
        return self.webhook.url_masked

    @property
    def contact_email(self) -> str | None:
        return self.webhook.contact_email

    @property
    def contract_document(self) -> Mapping[str, Any]:
        """The contract as it is stored; what is no object can be replaced."""
        return self.webhook.contract if isinstance(self.webhook.contract, dict) else {}

    @cached_property
    def url(self) -> str:
        """The unmasked URL as it was given, to be shown. Raises NotFound once the webhook is deleted."""
        given = self.webhook.url_given_ciphertext
        return self._opened("url_given_ciphertext", given) if given is not None else self.called_url

    @cached_property
    def called_url(self) -> str:
        """The unmasked URL in the form in which it is called. Raises NotFound once the webhook is deleted."""
        if self.webhook.url_ciphertext is None:
            raise NotFound("webhook", self.webhook.id)
        return self._opened("url_ciphertext", self.webhook.url_ciphertext)

    @cached_property
    def contract(self) -> DeliveryContract:
        """Its contract with every default filled in. Raises Unreadable."""
        self._refuse_newer()
        try:
            return read_stored_contract(self.webhook.contract)
        except InvalidWebhook as error:
            raise Unreadable(f"its stored contract cannot be read: {error}") from None

    @cached_property
    def secrets(self) -> WebhookSecrets:
        """All its other secrets, decrypted. Raises Unreadable, or WrongEncryptionKey."""
        self._refuse_newer()
        place = self._place("secrets_ciphertext")
        return read_secrets(self._vault.decrypt_document(self.webhook.secrets_ciphertext, place))

    @cached_property
    def unreadable(self) -> str | None:
        """Why contract or secrets cannot be read; None if they can."""
        try:
            self.contract, self.secrets  # noqa: B018 - read
        except (Unreadable, WrongEncryptionKey) as error:
            return str(error)
        return None

    def _opened(self, column: str, ciphertext: bytes) -> str:
        return self._vault.decrypt(ciphertext, self._place(column))

    def _place(self, column: str) -> Place:
        return Place("webhooks", column, self.webhook.id)

    def _refuse_newer(self) -> None:
        if self.webhook.format > FORMAT:
            raise Unreadable("a newer version wrote it in a format that this one does not know")

    def written(self, webhook: Webhook, breaker: CircuitBreaker | None, checked: Checked) -> "Registered":
        """The same after a write: what was decrypted and did not change is still known."""
        known = {name: vars(self)[name] for name in ("url", "called_url", "contract", "secrets") if name in vars(self)}
        return Registered(webhook, self.owner, breaker, self._vault, known=known | known_of(checked))

    def differs(self, url: CheckedUrl) -> bool:
        """Whether the URL is written differently than the stored one, which need not be readable to be replaced."""
        try:
            return url.given != self.url
        except (Unreadable, WrongEncryptionKey):
            return True


def known_of(checked: Checked) -> dict[str, object]:
    """What of a webhook is known once this is written."""
    url = checked.url
    known = {"url": url and url.given, "called_url": url and url.called}
    found = known | {"contract": checked.contract, "secrets": checked.secrets}
    return {name: value for name, value in found.items() if value is not None}
