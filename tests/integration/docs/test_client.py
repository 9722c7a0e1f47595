"""docs/client.md, from top to bottom."""

import pytest

from tests.integration.docs.reader import Reader

PAGE = "docs/client.md"


def test_the_page_runs_from_top_to_bottom(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.read_to("key")
    for name in ("API", "TOKEN"):
        monkeypatch.setenv(name, reader.value(name))

    started = reader.read_to("start").split()
    try:
        assert started == [str(reader.names["accepted"].event_id), "1"]
        assert reader.body(1) == '[{"id":"4023457654","body":"Yes"}]'

        assert reader.read_to("documents") == "None ['message.outbound'] UTC\n"
        assert reader.read_to("lists") == "message.inbound.received 4023457654 1\n"
        assert reader.read_to("errors").splitlines() == [
            "422",
            "event_types must have at least 1 item",
            "contract.timeout_seconds must be at most 60",
        ]
        assert reader.read_to("asyncio").splitlines()[-1] == "message.inbound.received delivered"
        reader.read_to_the_end()
    finally:
        reader.names["client"].close()
