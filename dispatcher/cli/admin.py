"""`dispatcher migrate`, `settings`, `secrets` and `openapi`: commands for the installation itself."""

import json as json_module
from typing import Annotated

import typer

from dispatcher.cli.actor import this_user
from dispatcher.cli.env_example import settings_example
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.masked_settings import masked_setting
from dispatcher.cli.output import AsJson, console, print_done, print_error, print_json, print_line, print_table
from dispatcher.cli.progress import Counting
from dispatcher.encryption.rotation import Rotation
from dispatcher.encryption.vault import generate_key
from dispatcher.settings import Settings, environment_name, sources

app = Commands()


@app.command()
def migrate(context: typer.Context, json: AsJson = False) -> None:
    """Bring the database to this version's tables.

    It is safe to repeat, and to run several times at once.
    """
    from dispatcher.db.migrate import upgrade

    upgrade(installation_of(context).settings.database_url.get_secret_value())
    print_done("the database has this version's tables", {"migrated": True}, json=json)


@app.command()
def settings(
    context: typer.Context,
    json: AsJson = False,
    example: Annotated[bool, typer.Option("--example", help="Print them all as an environment file instead")] = False,
) -> None:
    """Show the settings in use, with their variables.

    And where each comes from: the environment, a file, a credential or the engine that runs here. Secrets are masked.
    """
    if example and json:
        raise typer.BadParameter("--example and --json exclude each other")
    if example:
        typer.echo(settings_example(), nl=False)
        return
    used = installation_of(context).settings
    places = sources()
    rows = [
        (environment_name(name), masked_setting(name, getattr(used, name)), places[name], field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    if json:
        print_json(
            [
                {"variable": name, "value": value, "source": source, "description": about}
                for name, value, source, about in rows
            ]
        )
    else:
        print_table(["variable", "value", "source", "description"], rows)


@app.command()
def openapi() -> None:
    """Print the HTTP API's OpenAPI document.

    It is the same as docs/openapi.json.
    """
    from dispatcher.asgi import create_app

    typer.echo(json_module.dumps(create_app().openapi(), indent=2))


@app.command("generate-key")
def generate_encryption_key(json: AsJson = False) -> None:
    """Make a key for DISPATCHER_ENCRYPTION_KEYS.

    Keep it: what it encrypts cannot be read without it.
    """
    key = generate_key()
    print_done(key, {"key": key}, json=json)


@app.command()
def rotate(context: typer.Context, json: AsJson = False) -> None:
    """Re-encrypt all secrets with the newest key.

    That is the first of DISPATCHER_ENCRYPTION_KEYS. All processes may keep running meanwhile. The command can be
    stopped at any point and run again. It names secrets that no key opens, and those that were copied from another row.
    Exit status: 0 the newest key opens everything, 1 older keys are still needed, or a secret is not its row's.
    """
    installation = installation_of(context)
    rotation = Rotation(installation.engine, installation.vault, by=this_user())
    counting = Counting(console(stderr=True), f"of {rotation.total():,} secrets")
    try:
        with counting.shown():
            rotation.run(counting.add_one)
    finally:
        _print_rotation(rotation, json=json)
    if rotation.old_keys_are_needed or rotation.misplaced:
        raise typer.Exit(1)


def _print_rotation(rotation: Rotation, *, json: bool) -> None:
    for table, column, identifier in rotation.unreadable:
        print_error(f"{table} {identifier}: {column} cannot be opened with any of these keys")
    for table, column, identifier in rotation.misplaced:
        print_error(f"{table} {identifier}: {column} was made for another row, or changed: find out who wrote it")
    if json:
        print_json(
            {
                "re_encrypted": rotation.re_encrypted,
                "already_new": rotation.already_new,
                "unreadable": [place._asdict() for place in rotation.unreadable],
                "misplaced": [place._asdict() for place in rotation.misplaced],
                "old_keys_are_needed": rotation.old_keys_are_needed,
            }
        )
        return
    print_line(f"re-encrypted {rotation.re_encrypted:,}, already under the first key {rotation.already_new:,}")
    if rotation.left is None:
        print_line("stopped before the end: keep all keys, and run it again for the rest")
    elif rotation.left:
        print_line("keep all keys: a process still encrypts with an older one. Restart them all, then run this again")
    elif rotation.unreadable:
        print_line("keep all keys: some secrets could not be opened")
    else:
        print_line("the first key opens everything: those behind it can be removed from DISPATCHER_ENCRYPTION_KEYS")
