"""docs/alerts.md, from top to bottom."""

from tests.integration.docs.reader import Reader

PAGE = "docs/alerts.md"


def test_the_page_runs_from_top_to_bottom(reader: Reader) -> None:
    assert "dispatcher" in reader.read_to("oldest snapshot")
    reader.read_to_the_end()
