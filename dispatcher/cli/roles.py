"""`dispatcher roles`: roles in the database, with the rights that each kind of process needs."""

import re
from typing import Annotated

import typer

from dispatcher.cli.help_page import Commands
from dispatcher.cli.output import AsJson, print_json, print_table
from dispatcher.db.roles import ROLES, roles_sql

app = Commands()


@app.command(epilog="Example: dispatcher roles --print | psql -v ON_ERROR_STOP=1 dispatcher")
def roles(
    *,
    sql: Annotated[bool, typer.Option("--print", help="Print the SQL that makes them, for a superuser")] = False,
    prefix: Annotated[str, typer.Option(help="What their names begin with")] = "dispatcher_",
    json: AsJson = False,
) -> None:
    """Show the database roles of the engine's processes.

    Each has only the rights that its processes need, and cannot log in: make your own users members of them. The tables
    belong to the role that runs `dispatcher migrate`; `secrets rotate` and `erase` need it, too. Run the SQL again
    after each `migrate`.
    """
    if sql and json:
        raise typer.BadParameter("--print and --json exclude each other")
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,39}", prefix):
        raise typer.BadParameter(
            "--prefix must be small letters, digits and '_', at most 40, and not begin with a digit"
        )
    if sql:
        typer.echo(roles_sql(prefix), nl=False)
    elif json:
        print_json([{"role": prefix + name, "for": role.about} for name, role in ROLES.items()])
    else:
        print_table(["role", "for"], [(prefix + name, role.about) for name, role in ROLES.items()])
