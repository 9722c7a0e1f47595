"""The resources of a worker process: made once, in the child that uses them, and passed on one by one."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from time import monotonic

from billiard import current_process
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.db.engines import MAINTENANCE, Limits, make_engine
from dispatcher.db.heartbeat import BEAT_EVERY, MAINTAINS, Heartbeat
from dispatcher.db.outage_log import OutageLog
from dispatcher.installation import Installation
from dispatcher.transport.choice import new_transport
from dispatcher.transport.port import Transport
from workers.callbacks.targets import Targets
from workers.claims.account_caps import caps_of
from workers.claims.concurrency import UNBOUNDED, ConcurrencyLimits
from workers.journal import Journal
from workers.metrics.counts import Counts
from workers.notices.mailer import Mailer
from workers.results.host_faults import HostFaults
from workers.shared_memory import cells_of, journal_of
from workers.tokens.store import TokenStore
from workers.watchdog import Watchdog

NAME = "dispatcher worker"  # the application name of its connections
# A loop has one thread: while a statement waits, no answer is judged. It waits for no row, only where it cannot know of
# a lock, such as one on a whole table.
LOOP = Limits(MAINTENANCE.statement, lock=0.2)


class Worker:
    """An installation's connections and caches in one worker process. Making one connects to nothing."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        # For claims and results. A power failure of the database may lose the last fraction of a second of them, which
        # only means one more attempt. So they need not wait for its disk.
        url = installation.settings.database_url.get_secret_value()
        self.loop_engine = make_engine(
            url,
            application_name=installation.name,
            pooler=installation.settings.database_pooler,
            wait_for_disk=False,
            plan_once=True,
            limits=LOOP,
        )
        event.listen(self.loop_engine, "connect", installation.clock.ask)
        self.outages = OutageLog()
        self._per_destination = installation.settings.max_per_destination  # this process's part
        self._caps: tuple[int, Mapping[int, int]] = UNBOUNDED, {}  # of accounts, as the last heartbeat found them
        self.host_faults = HostFaults()
        self.next_beat = 0.0  # when a loop of this process makes its next heartbeat, monotonic

    @cached_property
    def heartbeat(self) -> Heartbeat:
        return Heartbeat()

    @cached_property
    def targets(self) -> Targets:
        return Targets(self.installation.vault, self.installation.timing, self.counts)

    @cached_property
    def token_store(self) -> TokenStore:
        return TokenStore(self.installation.vault)

    @cached_property
    def transport(self) -> Transport:
        made = new_transport(self.installation.settings)
        made.limit_addresses(self._per_destination)
        return made

    @cached_property
    def concurrency_limits(self) -> ConcurrencyLimits:
        """What the loops of this process have learned about webhooks; one loop after the other uses it."""
        made = ConcurrencyLimits(self.transport.capacity, self._per_destination)
        made.cap_accounts(*self._caps)
        return made

    @cached_property
    def journal(self) -> Journal:
        """The journal of this child. The one before with its place in the pool may have left something in it."""
        return Journal(journal_of(_index()))

    @cached_property
    def counts(self) -> Counts:
        """What this child counts, going on where the one before with its place in the pool stopped."""
        return Counts(cells_of(_index()))

    @cached_property
    def watchdog(self) -> Watchdog:
        return Watchdog(_index())

    @cached_property
    def mailer(self) -> Mailer:
        return Mailer(self.installation.settings, self.installation.mail_links)

    def note(self, doing: str) -> None:
        """A heartbeat of a maintenance worker's child, unless there was one a moment ago: it begins something."""
        if monotonic() >= self.heartbeat.beaten_at + BEAT_EVERY:
            try:
                beaten = self.heartbeat.beat(self.loop_engine, MAINTAINS, doing, clock=self.installation.clock)
                self.installation.learn(beaten.binding)
                self.counts.clock_offset(self.installation.clock.offset)
            except SQLAlchemyError as error:
                self.outages.failed(error)

    def leave(self) -> None:
        """The process ends, and is not seen any more."""
        with suppress(SQLAlchemyError):  # otherwise its row is forgotten later
            self.heartbeat.leave(self.loop_engine)

    def divide(self, processes: int) -> None:
        """So many processes deliver now, this one included: each takes its part of what a destination may get."""
        part = max(1, self.installation.settings.max_per_destination // processes)
        if part != self._per_destination:
            self._per_destination = part
            self.concurrency_limits.limit_destinations(part)
            self.transport.limit_addresses(part)

    def cap_accounts(self, processes: int) -> None:
        """The same for what each account may have in flight, as its limits are now."""
        with self.loop_engine.connect() as connection:
            self._caps = caps_of(connection, self.installation.settings.default_limits, processes)
        self.concurrency_limits.cap_accounts(*self._caps)

    def drop_transport(self) -> None:
        """Closes the transport and forgets its requests in flight; the next use makes a new one."""
        if "transport" in self.__dict__:
            self.transport.close()
            del self.transport
        self.__dict__.pop("concurrency_limits", None)

    def close(self) -> None:
        """Closes the transport and this worker's own idle connections; whatever made the installation closes it."""
        self.drop_transport()
        self.loop_engine.dispose()


def _index() -> int:
    """This child's place in the pool."""
    return getattr(current_process(), "index", 0)
