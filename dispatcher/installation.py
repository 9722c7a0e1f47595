"""One installation: what its API, command line and workers share, made once by whoever begins, and handed down."""

from functools import cached_property

from dispatcher.accounts.access_tokens import TokenMint
from dispatcher.encryption.vault import Vault
from dispatcher.producer import Clock, Producer, utc_now
from dispatcher.settings import Settings
from schedules.timing import Timing


class Installation(Producer):
    """A producer that can also open secrets and mint tokens. Making one connects to nothing."""

    def __init__(self, settings: Settings, *, name: str = "dispatcher", clock: Clock = utc_now) -> None:
        super().__init__(settings, name=name, clock=clock)
        self.timing = Timing(settings.time_scale)
        self.addresses = settings.addresses

    @cached_property
    def vault(self) -> Vault:
        """What encrypts and opens its secrets, checked against its database. Raises ConfigurationError for keys missing
        or wrong; where it raises, the next use tries again."""
        keys = self.settings.encryption_keys.get_secret_value()
        # Who asks may hold one of `engine`'s connections: many who wait for a second one would wait for each other.
        # It is asked once, so the connection is not kept.
        with self.statements.connect() as connection:
            connection.detach()
            return Vault.checked(keys, connection)

    @cached_property
    def token_mint(self) -> TokenMint:
        """Makes and reads its tokens. Raises as `vault`."""
        return TokenMint(self.vault.digest_secret)
