"""`dispatcher engine`: where the engine on this machine is."""

import json

import pytest

from dispatcher.cli import engine
from dispatcher.embedded.data_dir import API_ADDRESS, FLOWER_ADDRESS


@pytest.mark.parametrize(("switch", "address"), [("on", "http://127.0.0.1:8080/console"), ("off", None)])
def test_it_says_where_the_console_is_if_it_is_anywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], switch: str, address: str | None
) -> None:
    lines = {
        API_ADDRESS: "http://127.0.0.1:8080",
        FLOWER_ADDRESS: "http://127.0.0.1:5555",
        "DISPATCHER_CONSOLE": switch,
        "DISPATCHER_CONSOLE_URL": "http://127.0.0.1:8080",
    }
    monkeypatch.setattr(engine, "published", lambda _: lines)
    engine.engine(json=True)
    assert json.loads(capsys.readouterr().out)["console"] == address
