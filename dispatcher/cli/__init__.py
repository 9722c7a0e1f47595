"""The command line: `dispatcher COMMAND`."""


def main() -> None:
    """Entry point of the console script."""
    from dispatcher.cli.app import app

    app(prog_name="dispatcher")
