"""docs/operations.md, from top to bottom."""

import json

from cryptography.fernet import Fernet
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.factories import RECEIVED, attempts, change, make_webhook
from tests.integration.docs.blocks import ROOT, blocks_of
from tests.integration.docs.reader import Reader

PAGE = "docs/operations.md"


def test_the_page_runs_from_top_to_bottom(reader: Reader, database: Engine, settings: Settings) -> None:
    printed = reader.read_to("limits")
    assert "5,000" in printed

    printed = reader.read_to("suspend")
    assert "account initech is suspended" in printed
    assert "account initech is active" in printed

    printed = reader.read_to("delete")
    assert "account initrode is being deleted (webhooks: 0, deliveries: 0)" in printed

    printed = reader.read_to("contacts")
    assert "ops@example.com is unsubscribed" in printed
    assert "ops@example.com is confirmed" in printed

    printed = reader.read_to("audit")
    webhook = reader.value("WEBHOOK")
    table, _, entries = printed.partition("\n[")
    assert "account.created" in table
    assert [entry["action"] for entry in json.loads(f"[{entries}") if entry["target_id"] == webhook] == [
        "webhook.created"
    ]

    printed = reader.read_to("status")
    assert "Per second" in printed
    assert "FAIL  maintenance: no maintenance process lives" in printed

    reader.read_to("ready")

    # One of the two is late; the webhook of the other is disabled.
    make_webhook(database, settings, account="hooli", url="http://127.0.0.1:9/", enabled=False)
    assert enqueue(RECEIVED, {"id": "7"}, account="hooli").deliveries == 2
    change(database, "UPDATE dispatcher.deliveries SET due_at = now() - interval '2 minutes'")
    late, oldest = reader.read_to("lateness").split(" | ")
    assert late == "1"
    assert oldest.startswith("0:02:")

    assert "counted to" in reader.read_to("series")

    Fernet(reader.read_to("key").strip())

    explained = reader.read_to("explain")
    assert "the receiver rejected it, which is final" in explained
    assert "nothing is sent to it until it is enabled" in explained
    assert "No delivery to it is open." in explained

    # In place of a schedule that ends after two days.
    change(
        database,
        "UPDATE dispatcher.deliveries SET reason = 'exhausted' WHERE webhook_id = :id AND state = 'discarded'",
        id=webhook,
    )
    before = len(attempts(database))
    assert reader.read_to("redeliver").endswith("is finished: 2 redelivered\n")
    assert len(attempts(database)) == before + 2
    reader.read_to_the_end()


def test_every_block_of_the_guide_is_typed_or_says_why_not() -> None:
    """`./run.sh guide` types those that say on which server."""
    guide, _, _ = (ROOT / PAGE).read_text().partition("\n## Logs\n")
    blocks = [block for block in blocks_of(PAGE) if block.line <= guide.count("\n")]
    assert len([block for block in blocks if block.servers]) > 25
    assert [block.place for block in blocks if not ((block.servers and block.said) or block.mark == "not run")] == []
    assert not [block.place for block in blocks_of(PAGE) if block.servers and block not in blocks]
