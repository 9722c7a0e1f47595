"""Runs commands in this process, on the suite's servers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias
from unittest.mock import patch

import pytest
import typer.testing
from sqlalchemy import Engine

from dispatcher.cli.app import app
from dispatcher.cli.installed import Installed
from tests.installations import installation_for, settings_now

_built = cache(typer.main.get_command)  # all commands with their options: once, and not at each call


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its output as JSON."""
        assert self.status == 0, self.err
        return json.loads(self.out)


Cli: TypeAlias = Callable[..., Ran]


def run_command(*arguments: object, stdin: str | bytes | None = None) -> Ran:
    """Calls a command with its arguments, on an installation that stays. A traceback is raised."""
    with (
        patch("typer.testing._get_command", _built),
        patch("dispatcher.cli.app.make_installation", lambda: installation_for(settings_now())),
        patch.object(Installed, "close"),
    ):
        result = typer.testing.CliRunner().invoke(app, [str(word) for word in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def cli(database: Engine) -> Cli:
    """`run_command`, on the suite's servers."""
    return run_command
