"""Reads the settings once, at the start of a process, and says all that is wrong with them at once."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from dispatcher.errors import ConfigurationError, WrongSettings
from dispatcher.settings.checked import Settings
from dispatcher.settings.connection_file import connection_file
from dispatcher.settings.names import IGNORE_UNKNOWN, RENAMED, environment_name, unknown_names
from dispatcher.settings.secret_files import FromFile, found_in_files, given_variables
from dispatcher.settings.wording import Wrong, explain, explain_unknown

_YES = frozenset({"1", "true", "t", "yes", "y", "on"})  # as the fields read it


def read_settings(**chosen: Any) -> Settings:
    """The settings as the environment, the files that it names and the connection file have them now; `chosen` are by
    field, and come before those. Each process reads them once at start and passes them on. Raises WrongSettings, which
    names each variable that is wrong, and ConfigurationError for a field that there is not."""
    if unknown := sorted(chosen.keys() - Settings.model_fields.keys()):
        near = get_close_matches(unknown[0], Settings.model_fields, n=1)
        raise ConfigurationError(f"{unknown[0]} is not a setting" + (f": did you mean {near[0]}?" if near else ""))
    # What a local engine says of itself is not for another database.
    published = None if "database_url" in chosen else connection_file()
    return _checked(given_variables(), lambda: Settings(_env_file=published, **chosen))


def check_environment(environment: Mapping[str, str]) -> Settings:
    """The settings that a child will have whose environment is this process's with some changes. Raises as
    `read_settings`."""
    given = {name: environment.get(environment_name(name)) for name in Settings.model_fields}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return _checked(environment, lambda: Settings.model_validate({**values, **found_in_files(environment)}))


def sources() -> dict[str, str]:
    """Where each field comes from, for people: what names its value, or "default"."""
    given, path = given_variables(), connection_file()
    published = dotenv_values(path, interpolate=False) if path else {}
    files = found_in_files(given)
    return {name: _source(name, given, files.get(name), published, path) for name in Settings.model_fields}


def _source(
    field: str, given: Mapping[str, str], found: object, published: Mapping[str, str | None], path: Path | None
) -> str:
    variable = environment_name(field)
    if isinstance(found, FromFile):
        return found.place
    if variable in given:
        return "environment"
    if old := next((old for old, new in RENAMED.items() if new == variable and old in given), ""):
        return f"environment, as {old}"
    return f"engine here, {path}" if variable in published else "default"


def _checked(given: Mapping[str, str], read: Callable[[], Settings]) -> Settings:
    wrong: list[Wrong] = []
    if given.get(IGNORE_UNKNOWN, "").lower() not in _YES:
        wrong = [explain_unknown(name, near) for name, near in unknown_names(given, Settings.model_fields).items()]
    try:
        settings = read()
    except ValidationError as error:
        errors = error.errors(include_url=False)
        wrong = [*(explain(part, Settings.model_fields, given) for part in errors), *wrong]
    if wrong:
        raise WrongSettings([one.line for one in wrong], [one.reason for one in wrong]) from None
    return settings
