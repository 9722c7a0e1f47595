"""A dialect's list is whole, however long it is; it is read in pieces and sent as it is made."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine, event

from dispatcher.accounts.actor import Call
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.dialects import frame
from dispatcher.dialects.bulksms.errors import BULKSMS
from dispatcher.dialects.bulksms.fields import document_of
from dispatcher.dialects.frame import Owner, OwnWebhooks
from dispatcher.dialects.lists import whole_list
from dispatcher.ids import new_id, time_of
from dispatcher.installation import Installation
from dispatcher.web.serving import Serving
from dispatcher.webhooks.store import Webhooks
from tests.dialects.callers import DIALECTS, Vendors
from tests.factories import change, make_account, rows
from tests.integration.api.conftest import MakeKey
from tests.receiver import Receiver

NUMBER = 5  # Sinch has no more in an app


@pytest.fixture(autouse=True)
def small_pieces() -> Iterator[None]:
    with patch.object(frame, "PIECE", 2):
        yield


def make(vendors: Vendors, receiver: Receiver, dialect: str, number: int = NUMBER) -> list[UUID]:
    """Webhooks of a dialect; BulkSMS calls their URLs, and flexEngage takes no plain ones."""
    origin = receiver.origin if dialect == "bulksms" else "https://example.com"
    return [vendors.make(dialect, f"{origin}/hook?{one}", f"name {one}") for one in range(number)]


def urls(listed: list[Any]) -> list[str]:
    return [next(each[name] for name in ("url", "target", "endpoint") if name in each) for each in listed]


@contextmanager
def statements(database: Engine) -> Iterator[list[str]]:
    found: list[str] = []

    def seen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(database, "before_cursor_execute", seen)
    try:
        yield found
    finally:
        event.remove(database, "before_cursor_execute", seen)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("number", [0, 1, 2, NUMBER])
def test_it_is_whole_and_oldest_first(vendors: Vendors, receiver: Receiver, dialect: str, number: int) -> None:
    make(vendors, receiver, dialect, number)
    found = urls(vendors.listed(dialect))
    assert [url.partition("?")[2] for url in found] == [str(one) for one in range(number)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_pieces_whose_webhooks_cannot_be_read_are_left_out(vendors: Vendors, receiver: Receiver, dialect: str) -> None:
    made = make(vendors, receiver, dialect)
    change(vendors.database, "UPDATE dispatcher.webhooks SET format = 99 WHERE id = ANY(:ids)", ids=made[:3])
    assert [url.partition("?")[2] for url in urls(vendors.listed(dialect))] == ["3", "4"]


def test_what_fails_in_the_middle_is_no_whole_document(vendors: Vendors, receiver: Receiver) -> None:
    make(vendors, receiver, "zipwhip")
    whole, pieces = Webhooks.piece, 0

    def failing(*arguments: Any, **named: Any) -> Any:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            raise ZeroDivisionError
        return whole(*arguments, **named)

    with (
        patch.object(Webhooks, "piece", failing),
        pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)),
    ):
        vendors.listed("zipwhip")
    assert len(vendors.listed("zipwhip")) == NUMBER


def own_webhooks_of(installation: Installation, database: Engine) -> OwnWebhooks:
    serving = Serving(lambda: installation)
    (account,) = rows(database, "SELECT id, name FROM dispatcher.accounts")
    identifier = new_id()
    caller = Caller(identifier, account.id, account.name, frozenset({Scope.READ}), None, time_of(identifier))
    return OwnWebhooks(BULKSMS, serving, Owner(account.id, caller), Call(new_id(), None))


def test_between_pieces_it_holds_no_connection_and_reads_nothing_that_nobody_takes(
    vendors: Vendors, receiver: Receiver, installation: Installation
) -> None:
    make(vendors, receiver, "bulksms")

    async def read() -> None:
        answer: Any = whole_list(own_webhooks_of(installation, vendors.database), document_of)
        parts: AsyncIterator[bytes] = answer.body_iterator
        with statements(installation.engine) as executed:
            got = [await anext(parts)]
            await asyncio.sleep(0.05)
            assert executed == []
            async for part in parts:
                got.append(part)
                assert installation.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        pieces = [one for one in executed if "FROM dispatcher.webhooks" in one]
        assert len(pieces) == 2
        assert all("LIMIT" in one for one in pieces)
        assert [each["name"] for each in json.loads(b"".join(got))] == [f"name {one}" for one in range(NUMBER)]

    asyncio.run(read())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_of_many_readers_one_reads_at_a_time_and_none_holds_up_another_account(
    vendors: Vendors, receiver: Receiver, make_key: MakeKey, dialect: str
) -> None:
    make(vendors, receiver, dialect, 3)
    other = Vendors(vendors.origin, make_key("other", Scope.READ), vendors.database)
    make_account(vendors.database, "other")
    whole, counting, running, most = Webhooks.piece, threading.Lock(), 0, 0
    begun, go_on = threading.Event(), threading.Event()

    def counted(self: Webhooks, owner: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal running, most
        if owner.name == "other":
            return whole(self, owner, *arguments, **named)
        with counting:
            running += 1
            most = max(most, running)
        begun.set()
        assert go_on.wait(30)
        try:
            return whole(self, owner, *arguments, **named)
        finally:
            with counting:
                running -= 1

    with patch.object(Webhooks, "piece", counted), ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(vendors.listed, dialect) for _ in range(8)]
        assert begun.wait(30)
        if dialect not in {"flexengage", "sinch"}:  # their paths name the account
            assert other.listed(dialect) == []
        go_on.set()
        assert [len(reader.result()) for reader in readers] == [3] * 8
    assert most == 1
