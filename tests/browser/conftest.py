"""Chromium before a whole engine. Debian's is used, because Playwright's own cannot be fetched everywhere."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect, sync_playwright
from sqlalchemy import Engine

from dispatcher.settings import Settings
from tests.acceptance.test_one_command import Together, end
from tests.acceptance.test_workers import eventually
from tests.browser.visitor import Visitor
from tests.dead_ports import refusing_port
from tests.factories import make_account
from tests.installations import installation_for
from tests.integration.api.conftest import make_key
from tests.integration.console.conftest import Browser, People
from tests.receiver import Receiver

__all__ = ["make_key"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_MISSING = f"no Chromium found ({', '.join(_NAMES)}): apt-get install chromium, or set DISPATCHER_TEST_CHROMIUM"

Visit: TypeAlias = Callable[..., Visitor]

expect.set_options(timeout=20_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", type=Path, metavar="FOLDER", help="keep the pictures of the docs in this folder")


@pytest.fixture(scope="session")
def chromium(from_outside: dict[str, str]) -> Iterator[Chromium]:
    """One for all tests: a context for each visitor shares nothing with the others."""
    path = from_outside.get("DISPATCHER_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        if from_outside.get("DISPATCHER_NEEDS_CHROMIUM") == "1":
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
    with sync_playwright() as playwright:
        # A sandbox needs a user of its own: root has none.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def platform() -> Iterator[Receiver]:
    """The site of the platform, whose pages may show the portal in a frame."""
    with Receiver() as running:
        yield running


@pytest.fixture(scope="session")
def port() -> int:
    """Where the engine's API listens."""
    return refusing_port()


@pytest.fixture(scope="session")
def shop() -> str:
    """The origin of the program of docs/embedding.md, when a test runs it."""
    return f"http://localhost:{refusing_port()}"


@pytest.fixture
def environment(
    environment: dict[str, str], platform: Receiver, shop: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """That of all tests, with the console switched on."""
    added = {
        "DISPATCHER_CONSOLE": "on",
        "DISPATCHER_CONSOLE_URL": f"http://127.0.0.1:{port}",
        "DISPATCHER_PORTAL_ANCESTORS": f"http://localhost:{platform.port}, {shop}",
        "DISPATCHER_PORTAL_RETURN_ORIGINS": shop,
    }
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    return environment | added


@pytest.fixture(scope="session")
def kept() -> Iterator[list[Together]]:
    """The engine that all tests use."""
    running: list[Together] = []
    yield running
    end(running)


@pytest.fixture
def engine(
    chromium: Chromium, settings: Settings, kept: list[Together], port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Together]:
    """A whole engine, which nothing of this test may have made fail."""
    if not kept:
        kept.append(Together(tmp_path_factory.mktemp("engine"), port=port))
        eventually(kept[0].is_ready, kept[0], 60)
    kept[0].begin_test()
    yield kept[0]
    assert "Traceback" not in kept[0].said


@pytest.fixture
def people(engine: Together, settings: Settings, database: Engine, port: int) -> People:
    make_account(database, "acme")
    return People(f"http://127.0.0.1:{port}", installation_for(settings))


@pytest.fixture
def visit(chromium: Chromium) -> Iterator[Visit]:
    """Opens a browser of its own for somebody. At the end of the test none of them may have noticed a fault."""
    made: list[Visitor] = []

    def open_for(browser: Browser, **more: Any) -> Visitor:
        made.append(Visitor(chromium, browser, **more))
        return made[-1]

    yield open_for
    for visitor in made:
        visitor.leave()
    assert [fault for visitor in made for fault in visitor.faults] == []
