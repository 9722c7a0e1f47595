"""The account that a server runs as. PostgreSQL refuses root, so root starts it as an account without rights."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dispatcher.embedded.errors import EmbeddedError

UNPRIVILEGED = "nobody"


@dataclass(frozen=True, slots=True)
class ServerUser:
    """An account of this machine, by its ids."""

    uid: int
    gid: int

    @classmethod
    def for_data(cls, directory: Path) -> Self | None:
        """The account for a server; None: our own. For root: the owner of existing data, or else `nobody`."""
        if os.geteuid() != 0:
            return None
        if directory.exists() and (found := directory.stat()).st_uid != 0:
            return cls(found.st_uid, found.st_gid)
        try:
            account = pwd.getpwnam(UNPRIVILEGED)
        except KeyError:
            raise EmbeddedError(
                f"PostgreSQL cannot run as root, and there is no account {UNPRIVILEGED!r} here to run it as: "
                "start the engine as an ordinary user, or set DATABASE_URL"
            ) from None
        return cls(account.pw_uid, account.pw_gid)

    def own(self, directory: Path) -> None:
        """Give a new folder of ours to the account."""
        os.chown(directory, self.uid, self.gid)
