"""Chromium before a whole engine. Debian's is used, because Playwright's own cannot be fetched everywhere."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_MISSING = f"no Chromium found ({', '.join(_NAMES)}): apt-get install chromium, or set DISPATCHER_TEST_CHROMIUM"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One for all tests: a context for each test shares nothing with the others."""
    path = os.environ.get("DISPATCHER_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        if os.environ.get("DISPATCHER_NEEDS_CHROMIUM") == "1":
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
    with sync_playwright() as playwright:
        # A sandbox needs a user of its own: root has none.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()
