"""README.md, from top to bottom, with a running engine. What its first terminal does is tested in tests/acceptance."""

from sqlalchemy import Engine

from tests.factories import rows
from tests.integration.docs.reader import Reader, documents

PAGE = "README.md"


def test_the_page_runs_from_top_to_bottom(reader: Reader, database: Engine) -> None:
    printed = reader.read_to("send")
    assert printed.endswith("}\n")  # else the shell's next prompt would stick to it
    *_, over_http = printed.splitlines()
    assert documents(over_http)[0]["deliveries"] == 1
    assert reader.body(2) == '[{"id":"7","body":"Yes"}]'

    printed, accepted = reader.read_to("enqueue"), reader.names["accepted"]
    assert printed == f"{accepted.event_id} 1\n"
    (event,) = rows(database, "SELECT * FROM dispatcher.events WHERE subject = '4023457654'")
    assert event.id == accepted.event_id
    assert reader.body(3) == '[{"id":"4023457654","from":"27001234567","body":"Yes"}]'

    reader.read_to("stay")
    _, stays = rows(database, "SELECT * FROM dispatcher.webhooks ORDER BY number")
    assert (stays.event_types, stays.contact_email) == (["message"], "ops@example.com")
    reader.read_to_the_end()
