"""docs/comparison.md: what it does with our own engine. Other programs are not here."""

import json

from sqlalchemy import Engine

from benchmarks.servers import MESSAGE_BYTES
from tests.factories import rows
from tests.integration.docs.reader import Reader

PAGE = "docs/comparison.md"


def test_the_page_runs_from_top_to_bottom(reader: Reader, database: Engine) -> None:
    printed = reader.read_to("ours")
    assert json.loads(printed[printed.rindex("{") :])["deliveries"] == 1
    (event,) = rows(database, "SELECT octet_length(data) AS size FROM dispatcher.events")
    assert event.size == MESSAGE_BYTES
    reader.read_to_the_end()
