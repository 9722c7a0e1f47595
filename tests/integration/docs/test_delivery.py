"""docs/delivery.md, from top to bottom."""

import json
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from tests.factories import attempts, rows
from tests.integration.docs.reader import Reader

PAGE = "docs/delivery.md"


def webhook(database: Engine, identifier: str) -> Any:
    (found,) = rows(database, "SELECT * FROM dispatcher.webhooks WHERE id = :id", id=identifier)
    return found


def test_the_page_runs_from_top_to_bottom(reader: Reader, database: Engine) -> None:
    printed = reader.read_to("try")
    for line in reader.callbacks(2):
        assert "  message.inbound.received  " in line
        assert "  signature good  " in line
    assert "2 delivered" in printed
    ours = reader.value("WEBHOOK")

    reader.read_to("members")
    body = json.loads(reader.body(3))
    assert list(body) == ["type", "timestamp", "data"]
    assert body["type"] == "message.inbound.received"

    printed = reader.read_to("rotate")
    assert printed.count("whsec_") == 2
    assert "  signature good  " in reader.callbacks(4)[-1]  # which has the old key alone

    assert reader.read_to("batch").partition("accepted ")[2].startswith("2, repeated 0, refused 0; deliveries 2;")
    assert "  batch of 2  " in reader.callbacks(5)[-1]
    reader.read_to("rate")
    assert webhook(database, ours).rate_limit == 20

    reader.read_to("rules")
    gone = reader.value("GONE")
    stopped = webhook(database, gone)
    assert (stopped.enabled, stopped.disabled_reason) == (False, "http_404")
    assert stopped.contract["rules"]["429"]["honour_retry_after"]

    printed = reader.read_to("states")
    delivery = reader.value("DELIVERY")
    listed, shown = printed.split("\naccount ")
    assert listed.count(delivery) == 1
    assert '"status":404' in shown  # the answer's body

    redelivered, cancelled = reader.read_to("redeliver").splitlines()
    assert redelivered == f"delivery {delivery} is due again"
    assert cancelled == f"delivery {delivery} is cancelled"

    printed = reader.read_to("redeliver-many")
    assert "\n1 would be redelivered\n" in printed
    assert printed.endswith("is finished: 1 redelivered\n")
    assert len(attempts(database, UUID(delivery))) == 2

    assert reader.read_to("redelivery").count(reader.value("REDELIVERY")) == 2

    printed = reader.read_to("replay")
    taken = len(rows(database, "SELECT 1 FROM dispatcher.events WHERE type = 'message.inbound.received'"))
    (of_one,) = rows(
        database,
        "SELECT d.id FROM dispatcher.deliveries d JOIN dispatcher.webhooks w ON w.id = d.webhook_id AND w.name = 'new'"
        " WHERE d.event_id = :event",
        event=reader.value("EVENT"),
    )
    assert f"delivery {of_one.id} of it is due\n{taken} would be sent\n" in printed
    assert printed.endswith(f"is finished: {taken} sent\n")
    assert len(attempts(database, of_one.id)) == 2

    reader.read_to("switch")
    assert webhook(database, ours).enabled
    assert webhook(database, gone).deleted_at is not None
    reader.callbacks(5)
    reader.read_to_the_end()
