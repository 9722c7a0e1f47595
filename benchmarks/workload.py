"""The work of a run: webhooks on the receivers, and messages of one size for them."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from benchmarks.servers import MESSAGE_BYTES, Servers
from dispatcher import Event
from dispatcher.accounts.accounts import create_account
from dispatcher.accounts.actor import CommandLine
from dispatcher.webhooks.registration import register

BY = CommandLine("benchmark")
_numbers = itertools.count()


def message(size: int = MESSAGE_BYTES) -> bytes:
    """A JSON message of exactly `size` bytes."""
    members = {"id": "4023457654", "type": "RECEIVED", "from": "1543", "to": "27001234567", "body": ""}
    empty = json.dumps(members, separators=(",", ":"))
    members["body"] = "x" * (size - len(empty))
    return json.dumps(members, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Fleet:
    """Webhooks of one account that has no others; webhook n takes only events of type `bench.w<n>`."""

    account: str
    ids: tuple[UUID, ...]

    def event(self, number: int, data: bytes) -> Event:
        """The event with this number; events go to the webhooks in turn."""
        return Event(type=f"bench.w{number % len(self.ids)}", data=data, account=self.account)


def make_fleet(servers: Servers, urls: Sequence[str], **contract: Any) -> Fleet:
    """Registers a webhook for each URL, with the product's default contract, changed by `contract`."""
    name = f"fleet {next(_numbers)}"
    with servers.installation.transaction() as session:
        account = create_account(session, name, by=BY).id
    ids = tuple(
        register(servers.installation, account, by=BY, url=url, event_types=[f"bench.w{number}"], contract=contract).id
        for number, url in enumerate(urls)
    )
    servers.execute("ANALYZE dispatcher.webhooks, dispatcher.subscriptions")
    return Fleet(name, ids)
