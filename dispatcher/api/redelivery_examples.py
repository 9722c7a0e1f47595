"""Examples of bulk redeliveries and replays."""

from typing import Any

WEBHOOK_ID = "0198a6d1-90aa-7c33-a2b7-0d5f1c9e4a77"
REDELIVERY_ID = "0198a6e9-77aa-7b21-9f3c-1a5e7d9b0c43"

_FILTER = {"reason": "exhausted", "since": "2026-03-01T00:00:00Z"}
_REDELIVERY = {
    "id": REDELIVERY_ID,
    "account": "acme",
    "filter": {"webhook": None, "event_type": None, "states": ["discarded"], "until": None, **_FILTER},
    "per_second": 50,
    "matched": 1250,
    "matched_complete": True,
    "redelivered": 400,
    "skipped": None,
    "created_at": "2026-03-02T09:30:00Z",
    "finished_at": None,
    "cancelled_at": None,
}

_REPLAY = {
    **_REDELIVERY,
    "filter": {
        "webhook": WEBHOOK_ID,
        "event_type": None,
        "states": ["missing", "discarded", "cancelled"],
        "reason": None,
        "since": "2026-03-01T00:00:00Z",
        "until": None,
    },
    "per_second": 100,
    "redelivered": 0,
}

NEW_REPLAY: dict[str, Any] = {"since": "2026-03-01T00:00:00Z"}
NEW_REDELIVERY: dict[str, Any] = {"filter": _FILTER, "per_second": 50}
REDELIVERIES: dict[str, Any] = {
    "create_redelivery": {**_REDELIVERY, "redelivered": 0},
    "create_redelivery 200": {"matched": 1250, "matched_complete": True},
    "replay_webhook": _REPLAY,
    "replay_webhook 200": {"matched": 1250, "matched_complete": True, "erased": 2, "kept_since": None},
    "list_redeliveries": {"items": [_REDELIVERY], "next": None},
    "get_redelivery": _REDELIVERY,
    "cancel_redelivery": {**_REDELIVERY, "cancelled_at": "2026-03-02T09:31:00Z"},
}
