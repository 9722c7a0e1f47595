"""What the requests of one API process share: the installation that it serves, who calls, and counts of requests."""

from collections.abc import AsyncIterator, Callable
from threading import Lock
from typing import Annotated

from fastapi import Depends, Request

from dispatcher.events.waiting_room import Room
from dispatcher.installation import Installation
from dispatcher.web.access_log import AccessLog
from dispatcher.web.account_turns import (
    BATCHES_AT_ONCE,
    ENTRIES_AT_ONCE,
    LARGE_EVENTS_AT_ONCE,
    READS_AT_ONCE,
    UNSENT_AT_ONCE,
    WRITES_AT_ONCE,
    AccountTurns,
)
from dispatcher.web.failed_attempts import FailedAttempts
from dispatcher.web.guesses import Guesses, address_of, open_sessions, valid_keys
from dispatcher.web.known_callers import KnownCallers
from dispatcher.web.quotas import Rates
from dispatcher.web.rate_limits import RateLimits
from dispatcher.web.request_counts import RequestCounts


class Serving:
    """The installation of an API process and its dialects. The first use makes it: the process must answer before its
    settings are right."""

    def __init__(self, make: Callable[[], Installation]) -> None:
        self._make = make
        self._parts: tuple[Installation, RateLimits, Rates] | None = None
        self._lock = Lock()
        self.known_callers = KnownCallers()
        self.failures = FailedAttempts()
        self.guesses = Guesses("key", valid_keys, self.failures)
        self.session_guesses = Guesses("session", open_sessions, self.failures)
        self.access_log = AccessLog()
        self.counts = RequestCounts()
        self.unsent_turns = AccountTurns(UNSENT_AT_ONCE, "read")  # until the answer is sent
        self.reading_turns = AccountTurns(READS_AT_ONCE, "read")
        self.writing_turns = AccountTurns(WRITES_AT_ONCE, "change something")
        self.unsent_batch_turns = AccountTurns(UNSENT_AT_ONCE, "send many events")
        self.batch_turns = AccountTurns(BATCHES_AT_ONCE, "send many events")
        self.large_event_turns = AccountTurns(LARGE_EVENTS_AT_ONCE, "send a large event")
        self.large_events = Room()  # that wait for their turn
        self.entry_turns = AccountTurns(ENTRIES_AT_ONCE, "sign in", owner="address")
        self.unsent_page_turns = AccountTurns(UNSENT_AT_ONCE, "read a page", owner="address")

    @property
    def installation(self) -> Installation:
        """Raises ConfigurationError for settings that are missing or wrong; the next use tries again."""
        return self._begun()[0]

    @property
    def served(self) -> Installation | None:
        """It, if it was made."""
        parts = self._parts
        return None if parts is None else parts[0]

    @property
    def rate_limits(self) -> RateLimits:
        """Raises as `installation`."""
        return self._begun()[1]

    @property
    def rates(self) -> Rates:
        """Of accounts. Raises as `installation`."""
        return self._begun()[2]

    def close(self) -> None:
        """Closes it, and writes what is still to be logged; the next use makes it again."""
        self.access_log.write()
        self.known_callers.forget()
        self.failures.forget()
        with self._lock:
            parts, self._parts = self._parts, None
        if parts is not None:
            for part in reversed(parts):
                part.close()

    def _begun(self) -> tuple[Installation, RateLimits, Rates]:
        if (parts := self._parts) is not None:
            return parts
        with self._lock:
            if self._parts is None:
                installation = self._make()
                installation.on_group = self.counts.group
                settings = installation.settings
                broker_url = settings.broker_url.get_secret_value()
                limits = RateLimits(broker_url, settings.api_requests_per_minute)
                self._parts = installation, limits, Rates(broker_url, settings.default_limits, self.counts)
            return self._parts


async def serving_of(request: Request) -> Serving:
    """A dependency: what this request's app shares with the others of its process."""
    serving: Serving = request.app.state.serving
    return serving


async def installation_of(request: Request) -> Installation:
    """A dependency: the installation that is served. Raises ConfigurationError."""
    return (await serving_of(request)).installation


Shared = Annotated[Serving, Depends(serving_of)]


async def _page(request: Request, serving: Shared) -> AsyncIterator[None]:
    """For what is large and anybody may read, when few such answers to the caller's address are not sent yet."""
    async with serving.unsent_page_turns.turn(address_of(request)):
        yield


PAGE_TURN = Depends(_page, scope="request")
Served = Annotated[Installation, Depends(installation_of)]
