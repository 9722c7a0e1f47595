"""The command line: `dispatcher COMMAND`."""

import sys


def main(program: str = "dispatcher") -> None:
    """Entry point of the console script, or of another one that names itself."""
    try:
        _begin_log(sys.argv[1:2])
        from dispatcher.cli.app import app

        app(prog_name=program)
    except KeyboardInterrupt:
        sys.exit(130)


def _begin_log(command: list[str]) -> None:
    """Two commands also run where programs read what they say: before a node starts, and in place of nodes."""
    if command in (["migrate"], ["up"]):
        from dispatcher.logs.process import begin_process
        from dispatcher.logs.settings import LogSettings

        if command == ["migrate"] or LogSettings().log_format == "json":
            begin_process(*command, prints=True)
