"""Flower runs with a password, or not at all."""

from pathlib import Path

import pytest

from dispatcher.errors import ConfigurationError
from dispatcher.settings import Settings
from workers.flower import flower_options


def settings(**chosen: object) -> Settings:
    return Settings(database_url="postgresql://", broker_url="redis://", **chosen)  # type: ignore[arg-type]


def test_without_a_password_it_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match=r"^DISPATCHER_FLOWER_PASSWORD is not set"):
        flower_options(settings())


def test_it_starts_only_where_it_can_keep_its_history(tmp_path: Path) -> None:
    assert flower_options(settings(flower_password="word", flower_db=tmp_path / "db"))["db"] == str(tmp_path / "db")
    with pytest.raises(ConfigurationError, match=r"^DISPATCHER_FLOWER_DB names a file in .*/none, where"):
        flower_options(settings(flower_password="word", flower_db=tmp_path / "none" / "db"))
