"""The receivers of examples/receiving whose languages are compiled; tests/integration/docs has the others."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher.settings import Settings
from tests.example_receivers import (
    assert_it_does_not_run_without_a_secret,
    assert_it_takes_what_is_ours_once_and_nothing_else,
    in_each_language,
)

pytestmark = pytest.mark.node
compiled = in_each_language("go", "java")


@compiled
def test_a_receiver_in_each_language_takes_what_is_ours_once_and_nothing_else(
    language: str, database: Engine, settings: Settings, tmp_path: Path
) -> None:
    assert_it_takes_what_is_ours_once_and_nothing_else(language, database, settings, tmp_path)


@compiled
def test_no_receiver_runs_without_a_secret(language: str, tmp_path: Path) -> None:
    assert_it_does_not_run_without_a_secret(language, tmp_path)
