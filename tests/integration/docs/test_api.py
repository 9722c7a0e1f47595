"""docs/api.md, from top to bottom."""

from uuid import UUID

from sqlalchemy import Engine

from dispatcher.settings.quotas import DEFAULTS
from tests.factories import attempts, deliveries, rows
from tests.integration.docs.reader import Reader, documents

PAGE = "docs/api.md"


def test_the_page_runs_from_top_to_bottom(reader: Reader, database: Engine) -> None:
    (nothing_yet,) = documents(reader.read_to("key"))
    assert nothing_yet == {"items": [], "next": None}

    (made,) = documents(reader.read_to("create"))
    assert (made["name"], made["contract"]["batch_size"], made["headers"]) == ("orders", 10, {})
    assert made["signing_keys"][0]["secret"].startswith("whsec_")
    (tested,) = reader.callbacks(1)
    assert tested.endswith("  POST /hook?key=s3cret  answered 204  []"), tested

    (page,) = documents(reader.read_to("list"))
    assert ([item["id"] for item in page["items"]], page["next"]) == ([made["id"]], None)
    assert reader.value("WEBHOOK") == made["id"]

    (changed,) = documents(reader.read_to("patch"))
    assert (changed["name"], changed["contract"]["timeout_seconds"]) == ("orders, new", 10)

    off, on = documents(reader.read_to("switch"))
    assert (off["enabled"], off["disabled_reason"], on["enabled"]) == (False, "asked for by the customer", True)

    rotated, secrets = documents(reader.read_to("rotate"))
    assert len(rotated["signing_keys"]) == 2
    assert secrets["url"].endswith("/hook?key=s3cret")
    assert secrets["signing_keys"] == rotated["signing_keys"]

    (called,) = documents(reader.read_to("test"))
    *verifications, callback = reader.callbacks(4)
    assert all(line.endswith("  []") for line in verifications)  # made, changed, enabled
    assert f"  event {called['event_id']}  attempt 1  " in callback
    assert callback.endswith('  [{"id":"4023457654","body":"Yes"}]')

    (health,) = documents(reader.read_to("health"))
    assert (health["deliveries"]["counts"]["delivered"], health["last_answer"]["status"]) == (1, 204)

    of_webhook, of_account = documents(reader.read_to("series"))
    assert (of_webhook["step"], of_account["step"]) == ("15m", "1h")
    assert of_webhook["total"]["requests"] == sum(point["requests"] for point in of_webhook["points"])

    (page,) = documents(reader.read_to("notices"))
    assert [item["error"] for item in page["items"]] == ["http_404"]

    (page,) = documents(reader.read_to("contacts"))
    assert [(item["address"], item["state"]) for item in page["items"]] == [("ops@example.com", "unconfirmed")]

    one, many, listed = documents(reader.read_to("events"))
    assert (one["deliveries"], many["accepted"], many["refused"]) == (1, 1, 1)
    assert [item["status"] for item in many["items"]] == ["accepted", "refused"]
    assert [event["id"] for event in listed["items"]] == [one["event_id"]]
    bodies = [line.rpartition("  ")[2] for line in reader.callbacks(6)[4:]]
    assert bodies == ['[{"id":9007199254740993}]', '[{"id":"8"}]']

    listed, shown = documents(reader.read_to("deliveries"))
    assert [item["id"] for item in listed["items"]] == [shown["id"]]
    assert shown["attempts"][0]["answer"]["status"] == 404

    _, waits, cancelled, _, again = documents(reader.read_to("redeliver"))
    assert [delivery["state"] for delivery in (waits, cancelled, again)] == ["ready", "cancelled", "ready"]
    assert len(attempts(database, UUID(shown["id"]))) == 2

    of_delivery, of_webhook = reader.read_to("explanations").splitlines()
    assert "'code': 'discarded_rejected'" in of_delivery
    assert "'code': 'webhook_rejecting'" in of_webhook

    counted, ordered, listed = documents(reader.read_to("redeliveries"))
    assert counted == {"matched": 1, "matched_complete": True}
    assert (ordered["matched"], ordered["per_second"]) == (1, 50)
    assert [(item["id"], item["redelivered"]) for item in listed["items"]] == [(ordered["id"], 1)]
    assert len(attempts(database, UUID(shown["id"]))) == 3

    sent, counted, replay = documents(reader.read_to("replay"))
    assert (sent["event_id"], sent["state"]) == (one["event_id"], "ready")
    assert (counted["matched"], counted["erased"]) == (0, 0)
    assert replay["filter"]["states"] == ["missing", "discarded", "cancelled"]

    account, key, keys = documents(reader.read_to("accounts"))
    assert (account["name"], key["account"], key["scopes"]) == ("globex", "globex", ["send", "read"])
    assert [item["id"] for item in keys["items"]] == [key["id"]]
    (revoked,) = rows(database, "SELECT id FROM dispatcher.api_keys WHERE revoked_at IS NOT NULL")
    assert str(revoked.id) == key["id"]

    by_basic, by_form = documents(reader.read_to("tokens"))
    assert by_basic.keys() == by_form.keys()

    (page,) = documents(reader.read_to("audit"))
    (entry,) = page["items"]
    operator = UUID(reader.value("OPERATOR").partition(".")[0])
    assert (entry["target_id"], entry["by"]) == (key["id"], f"API key {operator}")

    (usage,) = documents(reader.read_to("usage"))
    assert {use["quota"]: use["limit"] for use in usage["quotas"]} == DEFAULTS
    put, got, of_another = documents(reader.read_to("limits"))
    assert put == got
    assert put["own"] == {"webhooks": 5_000, "events_per_day": None}
    assert of_another["account"] == "globex"

    (problem,) = documents(reader.read_to("problem", refused=[422]))
    fields = {error["field"] for error in problem["errors"]}
    assert fields == {"url", "event_types", "contract.timeout_seconds", "contract.colour"}

    reader.read_to("delete")
    assert rows(database, "SELECT * FROM dispatcher.webhooks WHERE deleted_at IS NULL") == []
    assert {delivery.state for delivery in deliveries(database)} == {"delivered", "discarded"}
    reader.read_to_the_end()
