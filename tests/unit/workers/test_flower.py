"""Flower runs with a password, or not at all."""

import pytest

from dispatcher.errors import ConfigurationError
from dispatcher.settings import Settings
from workers.flower import flower_options


@pytest.mark.parametrize("password", ["", "pässword", "line\nline"])
def test_a_password_that_cannot_be_used_is_refused_by_the_name_of_its_setting(password: str) -> None:
    settings = Settings(
        database_url="postgresql://",  # type: ignore[arg-type]
        broker_url="redis://",  # type: ignore[arg-type]
        flower_password=password,  # type: ignore[arg-type]
    )
    with pytest.raises(ConfigurationError, match=r"^DISPATCHER_FLOWER_PASSWORD (is not set|must be printable ASCII)"):
        flower_options(settings)
