"""What `DISPATCHER_METRICS_TOKEN` may be."""

import pytest

from dispatcher.errors import ConfigurationError
from dispatcher.settings import read_settings


def test_a_line_without_a_token_is_none(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_METRICS_TOKEN", "")
    assert not read_settings().metrics_token.get_secret_value()


def test_a_token_that_can_be_guessed_is_refused_without_being_shown(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPATCHER_METRICS_TOKEN", "too-short-token")
    with pytest.raises(ConfigurationError) as refused:
        read_settings()
    assert "DISPATCHER_METRICS_TOKEN" in str(refused.value)
    assert "too-short-token" not in str(refused.value)
