"""One installation: what its API, command line and workers share. Each process makes one at start and passes it on."""

from functools import cached_property

from dispatcher.accounts.access_tokens import TokenMint
from dispatcher.encryption.vault import Vault
from dispatcher.producer import Clock, Producer, utc_now
from dispatcher.settings import Settings
from schedules.timing import Timing


class Installation(Producer):
    """A producer that can also decrypt secrets and make access tokens. Making one opens no connection."""

    def __init__(
        self, settings: Settings, *, name: str = "dispatcher", clock: Clock = utc_now, threads: int = 15
    ) -> None:
        super().__init__(settings, name=name, clock=clock, threads=threads)
        self.timing = Timing(settings.time_scale)
        self.addresses = settings.addresses

    @cached_property
    def vault(self) -> Vault:
        """Encrypts and decrypts the installation's secrets; checked against its database. Raises ConfigurationError for
        keys that are missing or wrong; then the next use tries again."""
        keys = self.settings.encryption_keys.get_secret_value()
        # A caller may already hold one of `engine`'s connections: many that wait for a second one would deadlock.
        # This runs once, so the connection is not kept.
        with self.statements.connect() as connection:
            connection.detach()
            return Vault.checked(keys, connection)

    @cached_property
    def token_mint(self) -> TokenMint:
        """Makes and reads access tokens and sessions. Raises as `vault`."""
        return TokenMint(self.vault.digest_secret)
