"""The command line: `dispatcher COMMAND`."""

import sys


def main() -> None:
    """Entry point of the console script. Without the engine's packages it says so and ends."""
    try:
        from dispatcher.cli.app import app
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] in {"dispatcher", "schedules", "workers"}:
            raise
        sys.exit(
            f"Error: the command line needs the engine's packages ({missing.name} is missing): "
            "pip install 'dispatcher[server]'"
        )
    app(prog_name="dispatcher")
