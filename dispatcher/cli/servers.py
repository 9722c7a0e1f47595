"""`dispatcher up` and `dispatcher demo`: a whole engine on this machine, in one process tree."""

from pathlib import Path
from typing import Annotated

import typer

from dispatcher.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        epilog="Servers of your own are used where DATABASE_URL or BROKER_URL name them; the others are started here."
    )(up)
    app.command()(demo)


def up(
    *,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where data is kept between runs. Default: a folder of the user's.", file_okay=False),
    ] = None,
    temporary: Annotated[bool, typer.Option("--temporary", help="Throw all data away at the end.")] = False,
    dev: Annotated[
        bool,
        typer.Option(
            "--dev",
            help="For development: callbacks may go to receivers on this machine, at any port from 1024 on.",
        ),
    ] = False,
    api_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the HTTP API. Default: 8080, or a free one.")
    ] = None,
    flower_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of Flower. Default: 5555, or a free one.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Processes that deliver.")] = 2,
    log: Annotated[
        bool,
        typer.Option("--log", help="Print every line of its processes, at a terminal too, in place of one screen."),
    ] = False,
) -> None:
    """Run a whole engine here, until Ctrl-C: PostgreSQL, Valkey, API, workers, beat and Flower."""
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


def demo(
    *, stay: Annotated[bool, typer.Option("--stay", help="Keep the engine running afterwards, until Ctrl-C.")] = False
) -> None:
    """Show a whole engine at work on temporary data: five receivers that behave differently, and what becomes of it.

    Exits with 0 only if every outcome is what the delivery rules demand.
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
