"""What secrets that are not valid cost: little, and a right one is never refused because of them.

An address that shows too many gets 429 for each further one. Its secrets are compared in groups, with one query for all
that wait, so that nothing but their number of requests is left to those who guess.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Generic, TypeVar

from starlette.requests import Request

from dispatcher.accounts.api_keys import Shown, are_valid
from dispatcher.accounts.sessions import ShownSession, are_open
from dispatcher.installation import Installation
from dispatcher.web.failed_attempts import PER_MINUTE, FailedAttempts, counted_as
from dispatcher.web.problems import Problem, busy

_GROUP = 500

S = TypeVar("S")


class Guesses(Generic[S]):
    """What is shown to one API process as a secret of a kind, in words `kind`. `valid` says which of many are valid, in
    a thread; `failures` can be shared with other kinds."""

    def __init__(
        self, kind: str, valid: Callable[[Installation, list[S]], list[bool]], failures: FailedAttempts
    ) -> None:
        self._kind, self._valid, self._failures = kind, valid, failures
        self._waiting: list[tuple[S, asyncio.Future[bool]]] = []
        self._check: asyncio.Task[None] | None = None

    async def admit(self, request: Request, installation: Installation, shown: S | None) -> None:
        """Lets what a request shows (None: nothing that could be valid) be looked at. Raises Problem 429 for what is
        not valid, if its address has shown too much of that."""
        if not self._failures.seconds_to_wait(address_of(request), monotonic()):
            return
        if shown is None or not await self._is_valid(installation, shown):
            self.failed(request)
            raise self._too_many(request)

    def failed(self, request: Request) -> None:
        """Counts one that was not valid."""
        self._failures.add(address_of(request), monotonic())

    def _too_many(self, request: Request) -> Problem:
        seconds = self._failures.seconds_to_wait(address_of(request), monotonic())
        detail = f"more than {PER_MINUTE} requests a minute from this address without a valid {self._kind}"
        return busy(HTTPStatus.TOO_MANY_REQUESTS, detail, seconds)

    async def _is_valid(self, installation: Installation, shown: S) -> bool:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((shown, answer))
        if self._check is None or self._check.done() or self._check.get_loop() is not loop:
            self._check = loop.create_task(self._check_waiting(installation))
        return await answer

    async def _check_waiting(self, installation: Installation) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
            try:
                valid = await asyncio.to_thread(partial(self._valid, installation, [shown for shown, _ in group]))
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                for _, answer in group:
                    if not answer.done():  # whoever asked has left
                        answer.set_exception(error)
            else:
                for (_, answer), is_valid in zip(group, valid, strict=True):
                    if not answer.done():
                        answer.set_result(is_valid)


def address_of(request: Request) -> str:
    """What the caller's address is counted as."""
    return counted_as(request.client.host if request.client is not None else None)


def valid_keys(installation: Installation, shown: list[Shown]) -> list[bool]:
    with installation.transaction() as session:
        return are_valid(session, shown)


def open_sessions(installation: Installation, shown: list[ShownSession]) -> list[bool]:
    with installation.transaction() as session:
        return are_open(session, shown, installation.clock())
