"""An engine for one page: the suite's servers, and an API that the shell finds in the same way as that of `up`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher.asgi import create_app
from dispatcher.embedded.data_dir import API_ADDRESS, FLOWER_ADDRESS, DataDirectory
from dispatcher.settings import Settings
from tests.integration.api.conftest import running_app
from tests.integration.docs.reader import Reader


@pytest.fixture
def reader(
    request: pytest.FixtureRequest,
    environment: dict[str, str],
    database: Engine,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Reader]:
    """A reader of the module's PAGE, at its top."""
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path / "engine"))
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    with (
        DataDirectory(tmp_path / "engine") as data,
        running_app(create_app()) as api,
        Reader(request.module.PAGE, database, settings, desk) as reader,
    ):
        urls = {name: environment[name] for name in ("DATABASE_URL", "BROKER_URL")}
        data.publish({**urls, API_ADDRESS: api, FLOWER_ADDRESS: "http://127.0.0.1:5555"})
        yield reader
