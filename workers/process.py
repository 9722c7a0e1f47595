"""The resources of a worker process: made once, in the child that uses them, and passed on one by one."""

from functools import cached_property

from billiard import current_process

from dispatcher.db.engines import make_engine
from dispatcher.installation import Installation
from dispatcher.transport.choice import new_transport
from dispatcher.transport.port import Transport
from workers.callbacks.targets import Targets
from workers.claims.concurrency import ConcurrencyLimits
from workers.journal import Journal
from workers.notices.mailer import Mailer
from workers.shared_memory import journal_of
from workers.tokens.store import TokenStore

NAME = "dispatcher worker"  # the application name of its connections
# A loop has one thread: while a statement waits, no answer is judged. It waits for no row, only where it cannot know of
# a lock, such as one on a whole table.
LOOP_STATEMENT_SECONDS, LOOP_LOCK_SECONDS = 30, 0.2


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
            wait_for_disk=False,
            plan_once=True,
            statement_seconds=LOOP_STATEMENT_SECONDS,
            lock_seconds=LOOP_LOCK_SECONDS,
        )

    @cached_property
    def targets(self) -> Targets:
        return Targets(self.installation.vault, self.installation.timing)

    @cached_property
    def token_store(self) -> TokenStore:
        return TokenStore(self.installation.vault)

    @cached_property
    def transport(self) -> Transport:
        return new_transport(self.installation.settings)

    @cached_property
    def concurrency_limits(self) -> ConcurrencyLimits:
        """What the loops of this process have learned about webhooks; one loop after the other uses it."""
        return ConcurrencyLimits(self.transport.capacity, self.installation.settings.max_per_destination)

    @cached_property
    def journal(self) -> Journal:
        """The journal of this child. The one before with its place in the pool may have left something in it."""
        return Journal(journal_of(getattr(current_process(), "index", 0)))

    @cached_property
    def mailer(self) -> Mailer:
        return Mailer(self.installation.settings)

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
