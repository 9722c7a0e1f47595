"""`dispatcher up` and `dispatcher demo`: a whole engine on this machine, in one process tree."""

from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.help_page import Commands
from dispatcher.errors import ConfigurationError

app = Commands()


@app.command(epilog="If DATABASE_URL or BROKER_URL names a server, that one is used; the others are started here.")
def up(
    *,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where data is kept", show_default="the user's data folder", file_okay=False
        ),
    ] = None,
    temporary: Annotated[bool, typer.Option("--temporary", help="Delete all data at the end")] = False,
    dev: Annotated[bool, typer.Option("--dev", help="Let callbacks go to receivers on this machine")] = False,
    api_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the HTTP API", show_default="8080 or free")
    ] = None,
    flower_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of Flower", show_default="5555 or free")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Processes that deliver")] = 2,
    log: Annotated[bool, typer.Option("--log", help="Print all lines of its processes, no screen")] = False,
) -> None:
    """Run a whole engine here, until Ctrl-C.

    PostgreSQL, Valkey, API, workers, beat and Flower. With --dev, for development, callbacks may also go to receivers
    on this machine, at any port from 1024 on. A terminal shows one screen; into a pipe or file all lines are printed.
    Exit status: 0 stopped by Ctrl-C or SIGTERM, 1 it could not start, or a part of it ended.
    """
    if temporary and data_dir is not None:
        raise typer.BadParameter("--temporary and --data-dir exclude each other")
    from dispatcher.embedded.up import Plan, run_up

    run_up(
        Plan(
            data_dir=data_dir,
            temporary=temporary,
            dev=dev,
            api_port=api_port,
            flower_port=flower_port,
            concurrency=concurrency,
        ),
        every_line=log,
    )


@app.command()
def demo(
    *, stay: Annotated[bool, typer.Option("--stay", help="Keep the engine running afterwards, until Ctrl-C")] = False
) -> None:
    """Show a whole engine at work on temporary data.

    Five receivers behave differently, and the outcome of their callbacks is shown. Exits with 0 only if every
    outcome is what the delivery rules require.
    """
    try:
        from dispatcher.embedded.demo.demo import run_demo
    except ModuleNotFoundError as missing:
        if missing.name != "aiosmtpd":
            raise
        raise ConfigurationError(
            "the package 'aiosmtpd' is not installed: install it (the engine's extra `embedded` has it)"
        ) from None

    raise typer.Exit(run_demo(stay=stay))
