"""The actor of changes that commands make."""

import os
import pwd

from dispatcher.accounts.actor import CommandLine


def this_user() -> CommandLine:
    """The machine's account that this process runs as: its name, or its number if it has no name. Environment
    variables are not used, as anybody can set them."""
    try:
        return CommandLine(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return CommandLine(str(os.getuid()))
