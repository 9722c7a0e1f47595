"""`dispatcher engine`: where the engine is that `up` runs on this machine."""

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
    """Show where the engine is that `up` runs.

    The addresses of its API and of Flower on this machine, the login there, and the folder of its data.
    """
    directory = default_data_dir().absolute()
    lines = published(directory)
    if API_ADDRESS not in lines:
        print_error(
            f"no engine runs here with its data in {directory}: start one (./run.sh up), or name the folder of another "
            "one in DISPATCHER_DATA_DIR"
        )
        raise typer.Exit(1)
    if api:
        print_line(lines[API_ADDRESS])
        return
    if flower_password:
        print_line(lines[FLOWER_PASSWORD])
        return
    found = {
        "api": lines[API_ADDRESS],
        "flower": lines[FLOWER_ADDRESS],
        "flower_user": FLOWER_USER,
        "data": str(directory),
        "allowed_networks": lines.get(environment_name("allowed_networks"), ""),
    }
    if json:
        print_json(found)
    else:
        print_fields({name.replace("_", " "): value for name, value in found.items()})


def how_to_allow() -> str:
    """What to do where an address is refused: in one sentence, and with a running engine of this machine in two."""
    advice = (
        "DISPATCHER_ALLOWED_NETWORKS, DISPATCHER_ALLOWED_HOSTS, DISPATCHER_ALLOWED_PORTS and DISPATCHER_HTTPS_ONLY say "
        "what may be called, alike for workers, API and this command."
    )
    if published():
        advice += " For receivers on this machine start the engine with `./run.sh up --dev`."
    return advice
