"""`dispatcher engine`: the addresses of the engine that `up` runs on this machine."""

from typing import Annotated

import typer

from dispatcher.cli.help_page import Commands
from dispatcher.cli.output import AsJson, print_error, print_fields, print_json, print_line
from dispatcher.embedded.data_dir import API_ADDRESS, FLOWER_ADDRESS, FLOWER_PASSWORD, FLOWER_USER, published
from dispatcher.settings import default_data_dir, environment_name

app = Commands()


@app.command(epilog="Example: curl $(dispatcher engine --api)/healthz")
def engine(
    *,
    api: Annotated[bool, typer.Option("--api", help="Print only the address of the HTTP API")] = False,
    flower_password: Annotated[
        bool, typer.Option("--flower-password", help="Print only the password for Flower")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show the addresses of the engine that `up` runs.

    The HTTP API, the console, Flower and its user on this machine, and the folder of the data.
    """
    directory = default_data_dir().absolute()
    lines = published(directory)
    if API_ADDRESS not in lines:
        print_error(_none_runs("set DISPATCHER_DATA_DIR to the folder of another one"))
        raise typer.Exit(1)
    if api:
        print_line(lines[API_ADDRESS])
        return
    if flower_password:
        print_line(lines[FLOWER_PASSWORD])
        return
    console = lines.get(environment_name("console"))
    found = {
        "api": lines[API_ADDRESS],
        "console": f"{lines[environment_name('console_url')]}/console" if console == "on" else None,
        "flower": lines[FLOWER_ADDRESS],
        "flower_user": FLOWER_USER,
        "data": str(directory),
        "allowed_networks": lines.get(environment_name("allowed_networks"), ""),
    }
    if json:
        print_json(found)
    else:
        print_fields({name.replace("_", " "): value for name, value in found.items()})


def no_engine() -> str | None:
    """That no engine runs here, and what to do. None if one runs."""
    return None if published() else _none_runs("set DATABASE_URL and BROKER_URL to those of another one")


def _none_runs(otherwise: str) -> str:
    directory = default_data_dir().absolute()
    return f"no engine runs here with its data in {directory}: start one with `./run.sh up --dev`, or {otherwise}"


def how_to_allow() -> str:
    """What to do if an address is refused. There is a second sentence if an engine runs on this machine."""
    advice = (
        "DISPATCHER_ALLOWED_NETWORKS, DISPATCHER_ALLOWED_HOSTS, DISPATCHER_ALLOWED_PORTS and DISPATCHER_HTTPS_ONLY "
        "say what may be called. They must be the same for workers, API and this command."
    )
    if published():
        advice += " For receivers on this machine start the engine with `./run.sh up --dev`."
    return advice
