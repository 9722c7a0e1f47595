"""Webhooks as the loop needs them: decrypted, with their contract read, cached by version so that a change takes effect
at once. The cache is bounded by number and by bytes: a webhook has from 4 KB to about 100. An account can have more of
them than are kept, so that each claim opens some again: opening one takes little, whatever is in it."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection

from dispatcher.db.arrays import array
from dispatcher.db.prepared import Prepared
from dispatcher.encryption.vault import Place, Vault, destination
from dispatcher.errors import DispatcherError, Unreadable
from dispatcher.masking.answers import secret_forms
from dispatcher.masking.forms import Form
from dispatcher.masking.urls import secret_parts
from dispatcher.receiver_auth.credentials import ClientCredentials, header_value
from dispatcher.signing.signer import Signer
from dispatcher.transport.checks import check_headers, split_url
from dispatcher.webhooks.contract import FORMAT, DeliveryContract, read_stored_contract
from dispatcher.webhooks.secrets import read_secrets
from schedules.retry import RetrySchedule
from schedules.timing import Timing
from workers.metrics.counts import Counts

log = structlog.get_logger("dispatcher.targets")

KEPT, KEPT_BYTES = 10_000, 64 * 1024 * 1024
MAX_REASON = 200  # characters
_CIPHERTEXTS = ("url_ciphertext", "url_given_ciphertext", "secrets_ciphertext")
# The contract as text: a JSON number can be one that Python does not read.
_READ = Prepared(
    "read_targets",
    """
SELECT w.id::text, w.version, w.format, a.name AS account, w.account_id::text, w.url_masked, w.url_ciphertext,
       w.url_given_ciphertext, w.secrets_ciphertext, w.contract::text AS contract,
       w.contact_email IS NOT NULL AS has_contact
FROM dispatcher.webhooks w JOIN dispatcher.accounts a ON a.id = w.account_id
WHERE w.id = ANY(:ids) AND w.deleted_at IS NULL""",
    {"ids": "uuid[]"},
)
# One that others change at this moment is left to the next claim of it: its new version may be readable.
_QUARANTINE = Prepared(
    "quarantine_webhooks",
    """
UPDATE dispatcher.webhooks w SET quarantined_at = now(), quarantined_reason = q.reason
FROM unnest(:ids, :versions, :reasons) AS q(id, version, reason)
WHERE w.id = ANY(ARRAY(
    SELECT id FROM dispatcher.webhooks WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED))
  AND w.id = q.id AND w.version = q.version AND w.deleted_at IS NULL
RETURNING w.id::text, w.quarantined_reason""",
    {"ids": "uuid[]", "versions": "integer[]", "reasons": "text[]"},
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
    # Removed from an answer that repeats them. None: so many that no answer is kept.
    secret_values: tuple[Form, ...] | None = field(default=(), repr=False)

    @property
    def size(self) -> int:
        """About how many bytes it takes here, as measured: what a customer can make many or long of."""
        texts = len(self.url) + len(self.authorization or "") + sum(len(value) for _, value in self.headers)
        return 3_000 + 550 * len(self.contract.rules) + 170 * len(self.secret_values or ()) + texts


class _Unreadable(NamedTuple):
    """What is quarantined unless it is changed meanwhile."""

    id: str
    version: int
    why: str


class Targets:
    """The decrypted webhooks of one process; the most recently used ones are cached."""

    def __init__(self, vault: Vault, timing: Timing, counts: Counts) -> None:
        self._vault, self._timing, self._counts = vault, timing, counts
        self._kept: OrderedDict[str, Target] = OrderedDict()
        self._bytes = 0

    def load(self, connection: Connection, versions: Mapping[str, int]) -> dict[str, Target]:
        """The webhooks with these ids, at the given version or a newer one. Left out is what was deleted meanwhile, or
        written by a newer version in a format of its own, and what cannot be read: that is quarantined and logged, and
        does not stop the others."""
        found = {}
        for webhook_id, version in versions.items():
            target = self._kept.get(webhook_id)
            if target is not None and target.version >= version:
                self._kept.move_to_end(webhook_id)
                found[webhook_id] = target
        missing = versions.keys() - found.keys()
        if missing:
            targets, unreadable = self._read(connection, missing)
            for target in targets:
                found[target.id] = target
                self._keep(target)
            if unreadable:
                self._counts.quarantined(_quarantine(connection, unreadable))
        return found

    def _keep(self, target: Target) -> None:
        if (older := self._kept.pop(target.id, None)) is not None:
            self._bytes -= older.size
        self._kept[target.id] = target
        self._bytes += target.size
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].size

    def _read(self, connection: Connection, ids: Iterable[str]) -> tuple[list[Target], list[_Unreadable]]:
        targets, unreadable = [], []
        for row in _READ.execute(connection, {"ids": array(list(ids))}).all():
            if row.format > FORMAT:
                continue
            try:
                targets.append(self._open(row))
            except Exception as error:  # noqa: BLE001 - no row may stop the others, whatever is in it
                # The text of an unexpected error could contain part of a secret.
                why = str(error) if isinstance(error, DispatcherError) else f"not readable ({type(error).__name__})"
                unreadable.append(_Unreadable(row.id, row.version, why[:MAX_REASON]))
        return targets, unreadable

    def _open(self, row: Any) -> Target:
        """Raises a DispatcherError, or another exception, for what cannot be read or sent."""
        if row.url_ciphertext is None:
            raise Unreadable("it has no URL")
        contract = read_stored_contract(json.loads(row.contract))
        called, given, kept = (Place("webhooks", column, row.id) for column in _CIPHERTEXTS)
        url = self._vault.decrypt(row.url_ciphertext, called)
        document = self._vault.decrypt_document(row.secrets_ciphertext, kept)
        spellings = [url]
        if row.url_given_ciphertext is not None:
            spellings.append(self._vault.decrypt(row.url_given_ciphertext, given))
        in_url = chain.from_iterable(map(secret_parts, spellings))
        secrets = read_secrets(document)
        shown, authorization = secrets.authorization, header_value(secrets.authorization)
        _check_sendable(url, {**secrets.headers, **({"Authorization": authorization} if authorization else {})})
        return Target(
            id=row.id,
            version=row.version,
            account=row.account,
            account_id=row.account_id,
            url=url,
            url_masked=row.url_masked,
            destination=destination(self._vault.digest_secret, url),
            contract=contract,
            authorization=authorization,
            client_credentials=shown if isinstance(shown, ClientCredentials) else None,
            headers=tuple(secrets.headers.items()),
            signer=Signer(secrets, contract),
            schedule=self._timing.schedule(contract.schedule),
            has_contact=row.has_contact,
            secret_values=secret_forms(chain(_texts(document), in_url)),
        )


def _quarantine(connection: Connection, unreadable: Sequence[_Unreadable]) -> int:
    """Returns how many were."""
    ids, versions, reasons = (array(column) for column in zip(*unreadable, strict=True))
    found = _QUARANTINE.execute(connection, {"ids": ids, "versions": versions, "reasons": reasons}).all()
    for row in found:
        log.error("webhook quarantined", webhook=row.id, why=row.quarantined_reason)
    return len(found)


def _check_sendable(url: str, headers: Mapping[str, str]) -> None:
    """Raises Unreadable for what no request can be made of: otherwise each delivery would be discarded for it."""
    try:
        split_url(url)
        check_headers(tuple(headers.items()))
    except ValueError as error:
        raise Unreadable(str(error)) from None


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
