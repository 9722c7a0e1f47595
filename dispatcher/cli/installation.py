"""`dispatcher migrate`, `dispatcher settings` and `dispatcher secrets`: an installation's own affairs."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from dispatcher.cli.output import AsJson, print_json, print_line, print_table
from dispatcher.encryption import generate_key
from dispatcher.settings import Settings, environment_name, load_settings
from dispatcher.settings_example import settings_example
from dispatcher.urls import MASK

_URLS = frozenset({"database_url", "broker_url"})


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(migrate)
    app.command()(settings)
    secrets = typer.Typer(help="Secrets at rest.", no_args_is_help=True)
    secrets.command("generate-key")(generate_encryption_key)
    app.add_typer(secrets, name="secrets")


def migrate() -> None:
    """Bring the database to this version's tables. Safe to repeat, and to run several times at once."""
    from dispatcher.db.migrate import upgrade

    upgrade(load_settings().database_url.get_secret_value())
    print_line("the database is at this version's migration")


def settings(
    json: AsJson = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print an environment file with every setting instead.")
    ] = False,
) -> None:
    """Show the settings in use, secrets masked, each with the variable that sets it."""
    if example:
        typer.echo(settings_example(), nl=False)
        return
    used = load_settings()
    rows = [
        (environment_name(name), masked_setting(name, getattr(used, name)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    if json:
        print_json([{"variable": name, "value": value, "description": about} for name, value, about in rows])
    else:
        print_table(["variable", "value", "description"], rows)


def generate_encryption_key() -> None:
    """Make a key for DISPATCHER_ENCRYPTION_KEYS. Keep it: what it encrypts cannot be read without it."""
    typer.echo(generate_key())


def masked_setting(name: str, value: Any) -> Any:
    """A setting's value as it may be shown; of a URL where it leads to, never who logs in there."""
    if isinstance(value, SecretStr):
        clear = value.get_secret_value()
        if name in _URLS:
            return _mask_connection(clear)
        return MASK if clear else ""
    return str(value) if isinstance(value, Path) else value


def _mask_connection(url: str) -> str:
    # Not parsed: a password with characters that belong escaped must not be taken for a host.
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    place, question, _ = place.partition("?")
    if not at and ":" in place.partition("/")[0].rstrip("0123456789").removesuffix(":"):
        return f"{scheme}://{MASK}"
    return f"{scheme}://{f'{MASK}@' if login else ''}{place}{f'?{MASK}' if question else ''}"
