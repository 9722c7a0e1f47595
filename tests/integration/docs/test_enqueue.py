"""docs/enqueue.md, from top to bottom."""

import json

import pytest
from sqlalchemy import Engine

from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import change, deliver_all, make_webhook, rows
from tests.installations import close_installations
from tests.integration.docs.reader import Reader, documents
from tests.receiver import Receiver

PAGE = "docs/enqueue.md"


def test_the_page_runs_from_top_to_bottom(
    reader: Reader,
    settings: Settings,
    database: Engine,
    other: Installation,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_webhook(other.engine, other.settings, url=receiver.url("/other"), event_types=["message"])
    for name, url in (("DATABASE", other.settings.database_url), ("BROKER", other.settings.broker_url)):
        monkeypatch.setenv(f"OTHER_{name}_URL", url.get_secret_value())

    one, printed = reader.read_to("one"), reader.names["accepted"]
    assert one.split() == [str(printed.event_id), "1", "False"]
    assert json.loads(reader.body(1)) == [{"id": "4023457654", "from": "27001234567", "body": "Yes"}]

    reader.read_to("asyncio")
    bodies = {line.rpartition("  ")[2] for line in reader.callbacks(3)[1:]}
    assert bodies == {'[{"id":"17"}]', '[{"id":"18"}]'}

    try:
        reader.read_to("session")
        assert reader.value("DATABASE_URL") == settings.database_url.get_secret_value()
        assert [row.status for row in rows(database, "SELECT status FROM public.sms")] == ["DELIVERED"]
        assert reader.body(4) == '[{"id":"4023457654"}]'
    finally:
        reader.names["engine"].dispose()
        change(database, "DROP TABLE IF EXISTS public.sms")

    reader.read_to("idempotency")
    assert reader.body(5) == '[{"id":"7"}]'

    stored, left_out = reader.read_to("many").splitlines()
    assert f"  event {stored.removeprefix('stored ')}  " in reader.callbacks(6)[-1]
    assert left_out.startswith("left out: type must be dotted parts")

    reader.read_to("producer")
    reader.callbacks(6)
    deliver_all(other.settings)
    assert [request.body for request in receiver.at("/other")] == [b'[{"id":"7"}]']
    reader.read_to("configure")
    deliver_all(other.settings)
    assert len(receiver.at("/other")) == 2
    close_installations(but=settings)

    (answer,) = documents(reader.read_to("http"))
    (event,) = rows(database, "SELECT * FROM dispatcher.events WHERE id = :id", id=answer["event_id"])
    assert (event.subject, event.type) == ("9", "message.outbound.sent")
    assert event.occurred_at.isoformat() == "2026-03-02T09:15:00+00:00"
    (key,) = rows(database, "SELECT * FROM dispatcher.idempotency_keys WHERE event_id = :id", id=answer["event_id"])
    assert key.key == "sms-9-sent"

    reader.read_to("trace")
    assert rows(database, "SELECT 1 FROM dispatcher.events WHERE traceparent = :it", it=reader.names["traceparent"])

    assert reader.read_to("file").startswith("accepted 2, repeated 0, refused 0; deliveries 2;")
    subjects = rows(database, "SELECT * FROM dispatcher.events WHERE subject IN ('1', '2') ORDER BY subject")
    assert [bytes(event.data) for event in subjects] == [b'{"id": "1", "body": "one"}', b'{"id": "2", "body": "two"}']

    assert reader.read_to("look").count(str(printed.event_id)) == 1  # by its subject; it is not among the undelivered
    shown = reader.read_to("show")
    assert str(printed.event_id) in shown
    assert "delivered" in shown
    reader.read_to_the_end()
