"""docs/configuration.md, from top to bottom."""

from dispatcher.settings import Settings
from tests.integration.docs.reader import Reader

PAGE = "docs/configuration.md"


def test_the_page_runs_from_top_to_bottom(reader: Reader, settings: Settings) -> None:
    printed = reader.read_to("settings")
    assert "DISPATCHER_MAX_IN_FLIGHT" in printed
    assert settings.database_url.get_secret_value() not in printed
    reader.read_to_the_end()
