"""By whom a command changes something."""

import os
import pwd

from dispatcher.accounts.actor import CommandLine


def this_user() -> CommandLine:
    """The machine's account that this process runs as, by its name, else its number. Variables of the environment,
    which anybody sets, say nothing."""
    try:
        return CommandLine(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return CommandLine(str(os.getuid()))
