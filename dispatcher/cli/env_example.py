"""Writes `deploy/env.example` from the settings: `python -m dispatcher.cli.env_example > deploy/env.example`."""

import re
import sys
import textwrap
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from dispatcher.settings import SECRETS, Settings, environment_name

_WIDTH = 100

_HEAD = f"""\
# Settings of a dispatcher installation, for systemd (EnvironmentFile=) and Docker Compose (env_file).
# Generated from the settings: `python -m dispatcher.cli.env_example`. Change a copy of it, not this file.
#
# The copy holds secrets: mode 0600. One VARIABLE=value a line; a value with anything but letters, digits and ./:@,+=-_
# goes into 'single quotes'. Settings to be filled in come first; the others show their defaults, commented out.
#
# A secret need not be here. Leave it empty, and name a file that holds it by the variable with _FILE at its end, such
# as BROKER_URL_FILE, or have systemd hand it to the unit with LoadCredential=, under the name of the setting:
# {", ".join(SECRETS)}.
# The units, containers and pods of deploy/ do so: leave the lines that are not commented out away there.
"""


def settings_example() -> str:
    """The text of `deploy/env.example`: each setting with its description, variable and default."""
    fields = Settings.model_fields
    wanted = [_wanted(name, field) for name, field in fields.items() if field.examples]
    optional = [_optional(name, field) for name, field in fields.items() if not field.examples]
    return "\n".join([_HEAD, *wanted, *optional])


def _wanted(name: str, field: FieldInfo) -> str:
    assert field.examples, "the example is the placeholder of what an operator must fill in"
    return f"{_comment(field)}{environment_name(name)}={field.examples[0]}\n"


def _optional(name: str, field: FieldInfo) -> str:
    return f"{_comment(field)}# {environment_name(name)}={_quoted(_text(field.default))}\n"


def _comment(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    sentences = f"{field.description}." + (f" One of: {', '.join(choices)}." if choices else "")
    lines = textwrap.wrap(sentences, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _text(default: Any) -> str:
    match default:
        case None:
            return ""
        case SecretStr():
            return default.get_secret_value()
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case str() | int() | Path():
            return str(default)
        case _:
            raise TypeError(f"a default of type {type(default).__name__} has no form in an environment file")


def _quoted(value: str) -> str:
    return value if re.fullmatch(r"[\w./:@,+=-]*", value, re.ASCII) else f"'{value}'"


if __name__ == "__main__":
    sys.stdout.write(settings_example())
