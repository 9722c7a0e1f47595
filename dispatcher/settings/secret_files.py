"""Secrets that are in files: `DISPATCHER_SMTP_PASSWORD_FILE=/path`, or a credential of systemd (`LoadCredential=`)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dispatcher.settings.names import OWN_NAMES, SECRETS, environment_name, file_variable, name_given, with_usual_names

MAX_BYTES = 64 * 1024
_CREDENTIALS = "CREDENTIALS_DIRECTORY"  # systemd's name


@dataclass(frozen=True, slots=True)
class FromFile:
    """A secret, and where it was read."""

    text: str
    place: str

    def __repr__(self) -> str:
        return f"FromFile({self.place})"


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands for a secret that cannot be read, and says why."""

    why: str


def given_variables() -> dict[str, str]:
    """The environment by names in upper case, for they are read in any case. The two addresses are under their usual
    names, whichever name gives them."""
    return with_usual_names({name.upper(): value for name, value in os.environ.items()})


def found_in_files(given: Mapping[str, str]) -> dict[str, FromFile | Unusable]:
    """The secrets that the environment gives by files, by their fields."""
    return {field: _read_only(field, given, places) for field in SECRETS if (places := _places(field, given))}


def without_files(given: Mapping[str, str]) -> dict[str, str]:
    """The same environment for a child: with the secrets themselves where it names files, and the addresses under their
    usual names. What cannot be read stays."""
    given = {name: value for name, value in with_usual_names(given).items() if name not in OWN_NAMES}
    all_found = found_in_files(given)
    found = {field: secret for field, secret in all_found.items() if isinstance(secret, FromFile)}
    left = {name: value for name, value in given.items() if name not in {file_variable(field) for field in found}}
    if len(found) == len(all_found):
        left.pop(_CREDENTIALS, None)
    return {**left, **{environment_name(field): secret.text for field, secret in found.items()}}


def _places(field: str, given: Mapping[str, str]) -> dict[str, Path]:
    """The files, by what names them."""
    places = {}
    if path := given.get(file_variable(field)):
        places[name_given(file_variable(field), given)] = Path(path)
    if (directory := given.get(_CREDENTIALS)) and os.path.lexists(credential := Path(directory, field)):
        places[f"the credential {field}"] = credential
    return places


def _read_only(field: str, given: Mapping[str, str], places: Mapping[str, Path]) -> FromFile | Unusable:
    variable = name_given(environment_name(field), given)
    if len(ways := [*([variable] if given.get(variable) else []), *places]) > 1:
        return Unusable(f"is given more than once, by {' and '.join(ways)}: keep one of them")
    ((way, path),) = places.items()
    place = f"{way}, {ascii(str(path))[1:-1]}"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        return Unusable(f"cannot be read from its file ({place}): {error.strerror or type(error).__name__}")
    except ValueError:
        return Unusable(f"cannot be read from its file ({place}): it is not UTF-8 text")
    if len(content) > MAX_BYTES:
        return Unusable(f"cannot be read from its file ({place}): it is larger than {MAX_BYTES // 1024} kB")
    return FromFile(text, place) if text else Unusable(f"cannot be read from its file ({place}): it is empty")
