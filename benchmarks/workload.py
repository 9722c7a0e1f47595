"""The work of a run: webhooks on the receivers, and messages of one size for them."""

import base64
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from benchmarks.receiver import MOST_TIMED
from benchmarks.servers import MESSAGE_BYTES, Servers
from dispatcher import Event
from dispatcher.accounts.accounts import create_account
from dispatcher.accounts.actor import CommandLine
from dispatcher.db.models import Webhook
from dispatcher.encryption.stored import ciphertext_columns, place_of
from dispatcher.ids import new_id
from dispatcher.webhooks.registration import register

BY = CommandLine("benchmark")
ALL = "bench.all"  # the type of events for all webhooks of a fleet
_numbers = itertools.count()

_SECRET = [column for column in ciphertext_columns() if column.table.name == Webhook.__tablename__]
_OWN = {"id", "number", "event_types", *(column.name for column in _SECRET)}
_COPIED = ", ".join(column.name for column in Webhook.__table__.columns if column.name not in _OWN)
_ENCRYPTED = ", ".join(column.name for column in _SECRET)
_GIVEN = ", ".join(f"CAST(:{column.name} AS bytea[])" for column in _SECRET)
_COPY = f"""
INSERT INTO dispatcher.webhooks (id, event_types, {_ENCRYPTED}, {_COPIED})
SELECT copy_id, ARRAY['bench.w' || copy_number, '{ALL}'], {_ENCRYPTED}, {_COPIED}
FROM unnest(CAST(:copies AS uuid[]), CAST(:numbers AS integer[]),
            {_GIVEN}) c(copy_id, copy_number, {_ENCRYPTED}),
     (SELECT {_COPIED} FROM dispatcher.webhooks WHERE id = :registered) w"""
_SUBSCRIBE_COPIES = """
INSERT INTO dispatcher.subscriptions (webhook_id, event_type, account_id, app)
SELECT id, event_type, account_id, app FROM dispatcher.webhooks, unnest(event_types) event_type
WHERE id = ANY(:copies)"""


def message(size: int = MESSAGE_BYTES) -> bytes:
    """A JSON message of exactly `size` bytes."""
    return _message("x" * size, size)


def numbered_message(number: int) -> bytes:
    """A message of the usual size that the receiver knows by its number."""
    if number >= MOST_TIMED:
        raise ValueError(f"the receiver notes the arrival of {MOST_TIMED} messages at most")
    return _message("x" * MESSAGE_BYTES, MESSAGE_BYTES, f"{number:05}")


def incompressible_message(size: int) -> bytes:
    """The same, of a text that the database cannot compress."""
    return _message(base64.b64encode(os.urandom(size)).decode(), size)


def _message(text: str, size: int, identifier: str = "4023457654") -> bytes:
    members = {"id": identifier, "type": "RECEIVED", "from": "1543", "to": "27001234567", "body": ""}
    empty = json.dumps(members, separators=(",", ":"))
    members["body"] = text[: size - len(empty)]
    return json.dumps(members, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Fleet:
    """Webhooks of one account that has no others; webhook n takes events of type `bench.w<n>`, and all of them take
    events of type `bench.all`."""

    account: str
    ids: tuple[UUID, ...]

    def event(self, number: int, data: bytes) -> Event:
        """The event with this number; events go to the webhooks in turn."""
        return Event(type=f"bench.w{number % len(self.ids)}", data=data, account=self.account)


def make_fleet(servers: Servers, urls: Sequence[str], **contract: Any) -> Fleet:
    """Makes a webhook for each URL, with the product's default contract, changed by `contract`. The first with a URL is
    registered, the others are copies of its row: there may be too many to register."""
    name = f"fleet {next(_numbers)}"
    with servers.installation.transaction() as session:
        account = create_account(session, name, by=BY).id
    ids: dict[int, UUID] = {}
    for url in dict.fromkeys(urls):
        first, *others = (number for number, one in enumerate(urls) if one == url)
        ids[first] = register(
            servers.installation,
            account,
            by=BY,
            url=url,
            event_types=[f"bench.w{first}", ALL],
            contract=contract,
        ).id
        copies = {number: new_id() for number in others}
        encrypted = _encrypted(servers, ids[first], list(copies.values()))
        servers.execute(_COPY, registered=ids[first], copies=list(copies.values()), numbers=others, **encrypted)
        servers.execute(_SUBSCRIBE_COPIES, copies=list(copies.values()))
        ids |= copies
    servers.execute("ANALYZE dispatcher.webhooks, dispatcher.subscriptions")
    return Fleet(name, tuple(ids[number] for number in range(len(urls))))


def _encrypted(servers: Servers, registered: UUID, copies: Sequence[UUID]) -> dict[str, list[bytes | None]]:
    """The secrets of a registered webhook for each of its copies, by column: those of another row open nothing."""
    vault = servers.installation.vault
    with servers.installation.transaction() as session:
        webhook = session.get_one(Webhook, registered)
        stored = {column: getattr(webhook, column.name) for column in _SECRET}
    clear = {
        column: vault.decrypt(value, place_of(column, registered)) if value is not None else None
        for column, value in stored.items()
    }
    return {
        column.name: [vault.encrypt(text, place_of(column, copy)) if text is not None else None for copy in copies]
        for column, text in clear.items()
    }
