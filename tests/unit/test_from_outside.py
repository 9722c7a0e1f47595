"""What a developer has set for an engine of his own changes no test."""

import os
import subprocess
import sys
from pathlib import Path


def test_no_test_sees_the_variables_of_an_engine_that_its_process_was_started_with() -> None:
    asked = Path(__file__).parent / "dispatcher" / "test_settings.py"
    run = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", asked, "-k", "is_taken_as_it_is"],
        env={**os.environ, "DISPATCHER_NEEDS_CHROMIUM": "1", "DISPATCHER_PUBLIC_URL": "not one"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout
