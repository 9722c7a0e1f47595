"""The command line: `dispatcher COMMAND`."""

import sys


def main(program: str = "dispatcher") -> None:
    """Entry point of the console script, or of another one that names itself."""
    try:
        from dispatcher.cli.app import app

        app(prog_name=program)
    except KeyboardInterrupt:
        sys.exit(130)
