"""What a worker process has: made once, in the child that uses it, and handed down in parts."""

from functools import cached_property

from dispatcher.db.engines import make_engine
from dispatcher.installation import Installation
from dispatcher.transport.choice import new_transport
from dispatcher.transport.port import Transport
from workers.callbacks.targets import Targets
from workers.claims.concurrency import ConcurrencyLimits
from workers.notices.mailer import Mailer
from workers.tokens.store import TokenStore

NAME = "dispatcher worker"  # of its connections


class Worker:
    """An installation's connections and caches in one worker process. Making one connects to nothing."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        # For claims and records: a power failure of the database may cost their last fraction of a second, which comes
        # to one more attempt. They need not wait for its disk.
        url = installation.settings.database_url.get_secret_value()
        self.loop_engine = make_engine(url, application_name=installation.name, wait_for_disk=False)

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
        """What this process's loops have learnt of the webhooks, one loop after the other."""
        return ConcurrencyLimits(self.transport.capacity)

    @cached_property
    def mailer(self) -> Mailer:
        return Mailer(self.installation.settings)

    def drop_transport(self) -> None:
        """Closes the transport, and forgets what was in flight on it; the next use makes a new one."""
        if "transport" in self.__dict__:
            self.transport.close()
            del self.transport
        self.__dict__.pop("concurrency_limits", None)

    def close(self) -> None:
        """Closes the transport and idle connections of its own; the installation is closed by whoever made it."""
        self.drop_transport()
        self.loop_engine.dispose()
