"""Runs commands in this process, on the suite's servers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from dispatcher.cli.app import app


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


@pytest.fixture
def cli(database: Engine) -> Cli:
    """Calls a command with its arguments. A traceback fails the test."""

    def run(*arguments: object, stdin: str | bytes | None = None) -> Ran:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run
