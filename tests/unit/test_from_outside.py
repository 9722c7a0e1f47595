"""What a developer has set for an engine of his own changes no test."""

import os
from pathlib import Path

from tests import forked


def test_no_test_sees_the_variables_of_an_engine_that_its_process_was_started_with() -> None:
    asked = Path(__file__).parent / "dispatcher" / "test_settings.py"
    words = ("pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", str(asked), "-k", "is_taken_as_it_is")
    set_by_somebody = {"DISPATCHER_NEEDS_CHROMIUM": "1", "DISPATCHER_PUBLIC_URL": "not one"}
    # Plugins, which take most of the time to load, change nothing here.
    run = forked.run(*words, environment={**os.environ, **set_by_somebody, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    assert run.returncode == 0, run.stdout + run.stderr
    assert "5 passed" in run.stdout
