"""The work of a run: webhooks on the receivers, and messages of one size for them."""

import base64
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from benchmarks.copies import copy_webhook
from benchmarks.receiver import MOST_TIMED
from benchmarks.servers import MESSAGE_BYTES, Servers
from dispatcher import Event
from dispatcher.accounts.accounts import create_account
from dispatcher.accounts.actor import CommandLine
from dispatcher.ids import new_id
from dispatcher.webhooks.registration import register

BY = CommandLine("benchmark")
ALL = "bench.all"  # the type of events for all webhooks of a fleet
_numbers = itertools.count()


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
    registered, the others are copies of its row."""
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
        types = {copy: [f"bench.w{number}", ALL] for number, copy in copies.items()}
        copy_webhook(servers.installation, ids[first], types)
        ids |= copies
    servers.execute("ANALYZE dispatcher.webhooks, dispatcher.subscriptions")
    return Fleet(name, tuple(ids[number] for number in range(len(urls))))
