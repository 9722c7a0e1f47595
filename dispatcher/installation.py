"""One installation: what its API, command line and workers share. Each process makes one at start and passes it on."""

from functools import cached_property

from dispatcher.accounts.access_tokens import TokenMint
from dispatcher.accounts.mail_links import MailLinks
from dispatcher.db.binding import Binding
from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.encryption.vault import Vault
from dispatcher.producer import Producer
from schedules.timing import Timing


class Installation(Producer):
    """A producer that can also decrypt secrets and make access tokens. Making one opens no connection."""

    @cached_property
    def timing(self) -> Timing:
        return Timing(self.settings.time_scale)

    @cached_property
    def addresses(self) -> AddressPolicy:
        """What the egress policy lets through."""
        return self.settings.addresses

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

    def learn(self, binding: Binding) -> None:
        """How far the database has come with binding secrets, as each heartbeat tells."""
        if (made := vars(self).get("vault")) is not None:  # one that is made later asks
            made.learn(binding)

    @cached_property
    def mail_links(self) -> MailLinks:
        """Makes and reads the links in mails. Raises as `vault`."""
        return MailLinks(self.vault.digest_secret)

    @cached_property
    def token_mint(self) -> TokenMint:
        """Makes and reads access tokens and sessions. Raises as `vault`."""
        return TokenMint(self.vault.digest_secret)
