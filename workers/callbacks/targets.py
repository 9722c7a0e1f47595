"""Webhooks as the loop needs them: decrypted, with their contract read, cached by version so that a change takes effect
at once."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection

from dispatcher.db.arrays import array
from dispatcher.db.prepared import Prepared
from dispatcher.encryption.vault import Vault, destination
from dispatcher.errors import DispatcherError
from dispatcher.masking.answers import secret_forms
from dispatcher.masking.urls import secret_parts
from dispatcher.receiver_auth.credentials import ClientCredentials, header_value
from dispatcher.signing.signer import Signer
from dispatcher.webhooks.contract import DeliveryContract, read_contract
from dispatcher.webhooks.secrets import read_secrets
from schedules.retry import RetrySchedule
from schedules.timing import Timing

log = structlog.get_logger("dispatcher.targets")

KEPT = 10_000
_READ = Prepared(
    "read_targets",
    """
SELECT w.id::text, w.version, a.name AS account, w.account_id::text, w.url_masked, w.url_ciphertext,
       w.url_given_ciphertext, w.secrets_ciphertext, w.contract, w.contact_email IS NOT NULL AS has_contact
FROM dispatcher.webhooks w JOIN dispatcher.accounts a ON a.id = w.account_id
WHERE w.id = ANY(:ids) AND w.url_ciphertext IS NOT NULL""",
    {"ids": "uuid[]"},
)


@dataclass(frozen=True, slots=True)
class Target:
    """One webhook at one version."""

    id: str
    version: int
    account: str  # its name
    account_id: str
    url: str
    url_masked: str
    destination: int  # of the URL
    contract: DeliveryContract
    authorization: str | None  # the header's value, unless the webhook uses tokens
    client_credentials: ClientCredentials | None  # what the token is fetched with
    headers: tuple[tuple[str, str], ...]  # the customer's own
    signer: Signer
    schedule: RetrySchedule
    has_contact: bool
    secret_values: tuple[bytes, ...] = field(default=(), repr=False)  # removed from an answer that repeats them


class Targets:
    """The decrypted webhooks of one process; the most recently used ones are cached."""

    def __init__(self, vault: Vault, timing: Timing) -> None:
        self._vault, self._timing = vault, timing
        self._kept: OrderedDict[str, Target] = OrderedDict()

    def load(self, connection: Connection, versions: Mapping[str, int]) -> dict[str, Target]:
        """The webhooks with these ids, at the given version or a newer one. A webhook that was deleted meanwhile is
        left out. So is one whose secrets no key opens or whose contract cannot be read: it is logged, and does not stop
        the others."""
        found = {}
        for webhook_id, version in versions.items():
            target = self._kept.get(webhook_id)
            if target is not None and target.version >= version:
                self._kept.move_to_end(webhook_id)
                found[webhook_id] = target
        missing = versions.keys() - found.keys()
        if missing:
            for target in self._read(connection, missing):
                found[target.id] = self._kept[target.id] = target
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _read(self, connection: Connection, ids: Iterable[str]) -> Iterator[Target]:
        for row in _READ.execute(connection, {"ids": array(list(ids))}).all():
            try:
                yield self._open(row)
            except DispatcherError as error:
                log.error("webhook cannot be used", webhook=row.id, why=str(error))

    def _open(self, row: Any) -> Target:
        contract = read_contract(row.contract)
        url, document = self._vault.decrypt(row.url_ciphertext), self._vault.decrypt_document(row.secrets_ciphertext)
        spellings = [url]
        if row.url_given_ciphertext is not None:
            spellings.append(self._vault.decrypt(row.url_given_ciphertext))
        in_url = [part for spelling in spellings for part in secret_parts(spelling)]
        secrets = read_secrets(document)
        shown = secrets.authorization
        return Target(
            id=row.id,
            version=row.version,
            account=row.account,
            account_id=row.account_id,
            url=url,
            url_masked=row.url_masked,
            destination=destination(self._vault.digest_secret, url),
            contract=contract,
            authorization=header_value(shown),
            client_credentials=shown if isinstance(shown, ClientCredentials) else None,
            headers=tuple(secrets.headers.items()),
            signer=Signer(secrets, contract),
            schedule=self._timing.schedule(contract.schedule),
            has_contact=row.has_contact,
            secret_values=secret_forms([*in_url, *_texts(document)]),
        )


def _texts(document: Any) -> Iterator[str]:
    """Every text in a webhook's decrypted secrets, whatever their kind."""
    match document:
        case str():
            yield document
        case dict():
            yield from _texts(list(document.values()))
        case list():
            for value in document:
                yield from _texts(value)
