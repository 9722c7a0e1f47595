"""Large messages: the memory that they take in a loop, and what is left to others."""

import json
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import Event, enqueue_many
from dispatcher.settings import Settings
from dispatcher.transport.exchange import Request
from tests.behaviours import final
from tests.factories import MESSAGE, RECEIVED, change, deliver_all, deliveries, make_webhook
from tests.receiver import Receiver
from workers.callbacks.render import render
from workers.claims.claims import Claim
from workers.claims.held_bytes import MOST, HeldBytes

LARGE = json.dumps("x" * 250_000)


def store(database: Engine, event_type: str, count: int, data: object = MESSAGE, account: str = "acme") -> None:
    list(enqueue_many(Event(type=event_type, data=data, account=account) for _ in range(count)))  # type: ignore[arg-type]
    change(
        database,
        "UPDATE dispatcher.deliveries d SET account_no = a.number, size = octet_length(e.data)"
        " FROM dispatcher.events e JOIN dispatcher.accounts a ON a.id = e.account_id"
        " WHERE e.id = d.event_id AND d.account_no = 0",
    )


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes the loops of this test held after each claim."""
    totals: list[int] = []
    add = HeldBytes.add

    def watched(self: HeldBytes, claims: Iterable[Claim]) -> None:
        add(self, claims)
        totals.append(MOST - self.free)

    monkeypatch.setattr(HeldBytes, "add", watched)
    return totals


def wait_for_claims(held: list[int]) -> None:
    """Waits until the loop has claimed many times, and so holds what it may."""
    deadline = time.monotonic() + 20
    while len(held) <= 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("accounts", [1, 10])
def test_a_loop_holds_no_more_bytes_than_it_may_however_large_batches_are_and_releases_none(
    database: Engine, settings: Settings, receiver: Receiver, held: list[int], accounts: int
) -> None:
    hold = receiver.gate()
    for place in range(10):
        receiver.script(f"/{place}", (hold, final(200)))
        name, url = f"account {place % accounts}", receiver.url(f"/{place}")
        make_webhook(database, settings, account=name, url=url, contract={"batch_size": 100})
    for account in range(accounts):
        store(database, RECEIVED, 12, LARGE, f"account {account}")
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(deliver_all, settings)
        try:
            wait_for_claims(held)
        finally:
            hold.open()
        assert loop.result(60) == {"claimed": 120, "delivered": 120, "retried": 0, "discarded": 0}
    assert MOST / 2 < max(held) <= MOST


def test_an_account_that_holds_all_that_it_may_leaves_enough_for_a_large_message_of_another(
    database: Engine, settings: Settings, receiver: Receiver, held: list[int]
) -> None:
    hold = receiver.gate()
    for place in range(10):
        receiver.script(f"/large/{place}", (hold, final(200)))
        url = receiver.url(f"/large/{place}")
        make_webhook(database, settings, account="large", url=url, contract={"batch_size": 100})
    make_webhook(database, settings, url=receiver.url("/other"))
    store(database, RECEIVED, 12, LARGE, "large")
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(deliver_all, settings)
        try:
            wait_for_claims(held)
            store(database, RECEIVED, 1, LARGE)
            receiver.wait_for(1, path="/other", timeout=5)
        finally:
            hold.open()
        loop.result(60)


def test_messages_of_others_go_on_while_large_ones_of_several_accounts_hang(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    hold = receiver.gate()
    for account in ("large", "larger", "largest"):
        for place in range(6):
            receiver.script(f"/{account}/{place}", (hold, final(200)))
            url = receiver.url(f"/{account}/{place}")
            make_webhook(database, settings, account=account, url=url, contract={"batch_size": 100})
        store(database, RECEIVED, 12, LARGE, account)
    make_webhook(database, settings, url=receiver.url("/small"))
    loop = threading.Thread(target=deliver_all, args=(settings,))
    loop.start()
    try:
        receiver.wait_until(lambda seen: len({callback.path.split("/")[1] for callback in seen}) == 3)
        for count in range(1, 11):
            store(database, RECEIVED, 1)
            receiver.wait_for(count, path="/small", timeout=5)
    finally:
        hold.open()
        loop.join(60)
    assert {row.state for row in deliveries(database)} == {"delivered"}


def test_small_messages_do_not_wait_for_the_large_ones_that_were_claimed_with_them(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        make_webhook(database, settings, account="large", url=receiver.url("/large"), contract={"batch_size": 100})
        make_webhook(database, settings, account="small", url=receiver.url("/small"))
    store(database, RECEIVED, 1, LARGE, "large")
    store(database, RECEIVED, 1, MESSAGE, "small")
    rendered: list[tuple[object, int]] = []

    def watched(claims: Sequence[Claim], *arguments: Any, **named: Any) -> Request:
        rendered.append((claims[0].claimed_at, len(claims[0].data)))
        return render(claims, *arguments, **named)

    monkeypatch.setattr("workers.loop.render", watched)
    assert deliver_all(settings)["delivered"] == 8
    assert len({claimed_at for claimed_at, _ in rendered}) == 1
    assert [size > 1_000 for _, size in rendered] == [False] * 4 + [True] * 4
