"""What a worker process has: made once, lazily, in the child that uses it, and passed down."""

from functools import cache, cached_property

from sqlalchemy import Engine

from dispatcher.db.session import engine_for
from dispatcher.settings import Settings, load_settings
from dispatcher.transport import Transport
from dispatcher.transport.choice import new_transport
from dispatcher.wake import Waker, waker_for
from dispatcher.webhooks import open_vault
from workers.mail import Mailer
from workers.targets import Targets
from workers.token_store import TokenStore
from workers.windows import Windows


class Context:
    """Connections and caches of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def engine(self) -> Engine:
        return engine_for(self.settings.database_url.get_secret_value(), application_name="dispatcher worker")

    @cached_property
    def loop_engine(self) -> Engine:
        """For claims and records: a power failure of the database may cost their last fraction of a second, which
        comes to one more attempt. They need not wait for its disk."""
        url = self.settings.database_url.get_secret_value()
        return engine_for(url, application_name="dispatcher worker", wait_for_disk=False)

    @cached_property
    def waker(self) -> Waker:
        return waker_for(self.settings.broker_url.get_secret_value())

    @cached_property
    def targets(self) -> Targets:
        with self.engine.begin() as connection:
            return Targets(open_vault(connection, self.settings))

    @cached_property
    def token_store(self) -> TokenStore:
        return TokenStore(self.settings)

    @cached_property
    def transport(self) -> Transport:
        return new_transport(self.settings)

    @cached_property
    def windows(self) -> Windows:
        """What this process's loops have learnt of the webhooks, one loop after the other."""
        return Windows(self.transport.capacity)

    def drop_transport(self) -> None:
        """Closes the transport, and forgets what was in flight on it; the next use makes a new one."""
        if "transport" in self.__dict__:
            self.transport.close()
            del self.transport
        self.__dict__.pop("windows", None)

    @cached_property
    def mailer(self) -> Mailer:
        return Mailer(self.settings)


@cache
def process_context() -> Context:
    """This process's context."""
    return Context(load_settings())
