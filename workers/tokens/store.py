"""The tokens of all webhooks: stored encrypted in the database for all workers, and cached decrypted in this
process."""

import hashlib
import hmac
import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from time import monotonic
from typing import Any, NamedTuple

from sqlalchemy import Connection

from dispatcher.db.arrays import array
from dispatcher.encryption.vault import Place, Vault
from dispatcher.errors import Unreadable, WrongEncryptionKey
from dispatcher.receiver_auth.credentials import ClientCredentials, write_authorization
from dispatcher.receiver_auth.token_request import Issued
from workers.tokens.statements import ACCEPT, BEGIN, DROP, FAILED, FIND, KEEP, REFUSE

FETCH_SPAN = 40.0  # seconds that one worker has for a fetch: longer than the request may take, DNS lookup included
FAILURE_PAUSE = 5.0  # seconds without any fetch after one that failed
KEPT = 10_000
_MOST_LEEWAY = 10.0  # seconds before its end in which a token is no longer used, at most a tenth of its life


@dataclass(frozen=True, slots=True)
class Token:
    """What is presented to a receiver. `id` is the token request that fetched it; `until` is monotonic.
    `after_refusal`: the receiver refused the token before this one, and has not accepted this one yet."""

    id: str
    value: str = field(repr=False)
    until: float
    after_refusal: bool


class Wanted(NamedTuple):
    """A token that is needed. If no worker has it, `fetch_id` is the id of the token request that will fetch it."""

    webhook_id: str
    credentials: ClientCredentials
    fetch_id: str


class Missing(Enum):
    """Why there is no token yet, and what the caller has to do."""

    FETCH = auto()  # the caller fetches it; nobody else does for a while
    LATER = auto()  # another worker fetches it, or a fetch failed a moment ago
    DELETED = auto()  # the webhook no longer exists


class TokenStore:
    """The tokens as one process sees them. Methods that take a connection raise DBAPIError if the database is
    unavailable."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._kept: dict[str, tuple[ClientCredentials, Token]] = {}
        self._refused: dict[str, str] = {}  # by webhook: the token that is to be dropped, until another is here

    def cached(self, webhook_id: str, credentials: ClientCredentials) -> Token | None:
        """The valid token that this process has cached."""
        theirs, token = self._kept.get(webhook_id, (None, None))
        return token if token is not None and theirs == credentials and monotonic() < token.until else None

    def look(self, connection: Connection, wanted: Collection[Wanted]) -> dict[str, Token | Missing]:
        """The token, or why it is missing, for each of these webhooks, each given once. For `FETCH` the caller fetches
        as soon as this is committed, and reports the result with `put` or `fetch_failed`."""
        found: dict[str, Token | Missing] = {}
        rows = {row.id: row for row in connection.execute(FIND, {"ids": array([one.webhook_id for one in wanted])})}
        to_fetch = []
        for one in wanted:
            row = rows.get(one.webhook_id)
            if row is None:
                found[one.webhook_id] = Missing.DELETED
            elif row.credentials is None or bytes(row.credentials) != self._digest(one.credentials):
                to_fetch.append(one)
            elif row.token_ciphertext is not None and row.fetch_id == self._refused.get(one.webhook_id):
                connection.execute(REFUSE, {"id": row.id, "fetch_id": row.fetch_id})  # somebody had locked its row
                found[one.webhook_id] = Missing.LATER
            elif (token := self._open(connection, row)) is not None:
                found[one.webhook_id] = self._keep(one.webhook_id, one.credentials, token)
            elif row.may_fetch:
                to_fetch.append(one)
            else:
                found[one.webhook_id] = Missing.LATER
        begun = self._begin(connection, to_fetch)
        for one in to_fetch:  # another worker can have been quicker
            found[one.webhook_id] = Missing.FETCH if one.webhook_id in begun else Missing.LATER
        return found

    def put(self, connection: Connection, fetched: Wanted, issued: Issued) -> Token:
        """Stores a fetched token for all workers. If the webhook was deleted or got other credentials meanwhile, only
        this process keeps it."""
        seconds = issued.seconds - min(_MOST_LEEWAY, issued.seconds / 10)
        after_refusal = connection.scalar(
            KEEP,
            {
                "id": fetched.webhook_id,
                "fetch_id": fetched.fetch_id,
                "ciphertext": self._vault.encrypt(issued.value, _place(fetched.webhook_id)),
                "seconds": seconds,
            },
        )
        token = Token(fetched.fetch_id, issued.value, monotonic() + seconds, bool(after_refusal))
        return self._keep(fetched.webhook_id, fetched.credentials, token)

    def fetch_failed(self, connection: Connection, fetched: Wanted, *, pause: float) -> None:
        """Records a failed fetch: nobody fetches for `pause` seconds."""
        connection.execute(FAILED, {"id": fetched.webhook_id, "fetch_id": fetched.fetch_id, "pause": pause})

    def refuse(self, connection: Connection, webhook_id: str, token: Token) -> bool:
        """Drops a token that the receiver refused. True: another is worth a try. False: it is not dropped, because it
        was fetched after a refusal and never accepted, so another would be refused as well."""
        other = bool(connection.scalar(REFUSE, {"id": webhook_id, "fetch_id": token.id}))
        if other:
            self._refused[webhook_id] = token.id
        _, kept = self._kept.get(webhook_id, (None, None))
        if other and kept is not None and kept.id == token.id:
            del self._kept[webhook_id]
        return other

    def accept(self, connection: Connection, webhook_id: str, token: Token) -> None:
        """Records that the receiver accepted this token: after a later refusal another is worth a try. The next answer
        does it if somebody has locked its row."""
        if not connection.scalar(ACCEPT, {"id": webhook_id, "fetch_id": token.id}):
            return
        credentials, kept = self._kept.get(webhook_id, (None, None))
        if credentials is not None and kept is not None and kept.id == token.id:
            self._kept[webhook_id] = credentials, replace(kept, after_refusal=False)

    def _begin(self, connection: Connection, wanted: Collection[Wanted]) -> set[str]:
        if not wanted:
            return set()
        parameters = {
            "ids": array([one.webhook_id for one in wanted]),
            "credentials": array([self._digest(one.credentials) for one in wanted]),
            "fetch_ids": array([one.fetch_id for one in wanted]),
        }
        return set(connection.scalars(BEGIN, parameters | {"span": FETCH_SPAN}))

    def _open(self, connection: Connection, row: Any) -> Token | None:
        if row.token_ciphertext is None or row.seconds <= 0:
            return None
        try:
            value = self._vault.decrypt(row.token_ciphertext, _place(row.id))
        except (WrongEncryptionKey, Unreadable):  # its encryption key was removed since: a new token costs little
            connection.execute(DROP, {"id": row.id, "fetch_id": row.fetch_id})
            return None
        return Token(row.fetch_id, value, monotonic() + row.seconds, row.after_refusal)

    def _keep(self, webhook_id: str, credentials: ClientCredentials, token: Token) -> Token:
        self._kept.pop(webhook_id, None)
        self._refused.pop(webhook_id, None)
        self._kept[webhook_id] = credentials, token
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return token

    def _digest(self, credentials: ClientCredentials) -> bytes:
        """Identifies the credentials of a token without revealing them; keyed, so that a dump cannot be searched for
        guesses."""
        key = self._vault.digest_secret
        return hmac.new(key, json.dumps(write_authorization(credentials)).encode(), hashlib.sha256).digest()


def _place(webhook_id: str) -> Place:
    return Place("tokens", "token_ciphertext", webhook_id)
