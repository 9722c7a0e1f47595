"""Reads of one account run one after the other, in the order in which they came; those of others do not wait."""

import asyncio
from contextlib import suppress
from uuid import UUID

import pytest

from dispatcher.errors import AccountAtLimit
from dispatcher.ids import new_id
from dispatcher.web.account_turns import MOST_WAITING, READS_AT_ONCE, AccountTurns

ONE, OTHER = new_id(), new_id()


class Reads:
    """Reads that go on until they are told to end."""

    def __init__(self) -> None:
        self.turns, self.running, self.end = AccountTurns(READS_AT_ONCE, "read"), list[object](), asyncio.Event()

    async def read(self, account: UUID | None, name: object = None, *, begun: bool = False) -> None:
        async with self.turns.turn(account, begun=begun):
            self.running.append(name)
            await self.end.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_of_many_reads_of_an_account_one_runs_and_the_others_follow_in_order() -> None:
    async def reads() -> None:
        reads = Reads()
        tasks = [asyncio.create_task(reads.read(ONE, number)) for number in range(16)]
        await settle()
        assert reads.running == list(range(READS_AT_ONCE)) == [0]
        reads.end.set()
        await asyncio.gather(*tasks)
        assert reads.running == list(range(16))

    asyncio.run(reads())


def test_reads_of_other_accounts_and_of_operators_run_at_once() -> None:
    async def reads() -> None:
        reads = Reads()
        accounts = (ONE, ONE, OTHER, None, None)
        tasks = [asyncio.create_task(reads.read(account, account)) for account in accounts]
        await settle()
        assert reads.running == [ONE, OTHER, None, None]
        reads.end.set()
        await asyncio.gather(*tasks)

    asyncio.run(reads())


def test_only_so_many_wait_but_the_rest_of_a_list_always_may() -> None:
    async def reads() -> None:
        reads = Reads()
        tasks = [asyncio.create_task(reads.read(ONE)) for _ in range(READS_AT_ONCE + MOST_WAITING)]
        await settle()
        with pytest.raises(AccountAtLimit, match="100 requests of the account"):
            await reads.read(ONE)
        tasks += [asyncio.create_task(reads.read(account, begun=True)) for account in (ONE, OTHER)]
        reads.end.set()
        await asyncio.gather(*tasks)
        await reads.read(ONE)

    asyncio.run(reads())


def test_who_leaves_or_fails_holds_nobody_up_and_nothing_is_kept() -> None:
    async def reads() -> None:
        reads = Reads()
        first, leaver, last = (asyncio.create_task(reads.read(ONE, number)) for number in range(3))
        await settle()
        leaver.cancel()
        first.cancel()
        await settle()
        assert reads.running == [0, 2]
        last.cancel()
        with suppress(asyncio.CancelledError):
            await last
        with pytest.raises(ValueError, match="of the read"):
            async with reads.turns.turn(ONE):
                raise ValueError("of the read")
        assert vars(reads.turns)["_queues"] == {}

    asyncio.run(reads())
