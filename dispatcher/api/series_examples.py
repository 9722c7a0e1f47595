"""Examples of series."""

from typing import Any

_COUNTS: dict[str, Any] = {
    "requests": 413,
    "messages": 413,
    "outcomes": {
        "ok": {"requests": 412, "messages": 412},
        "temporary:timeout": {"requests": 1, "messages": 1},
    },
    "answer_times": {"answers": 412, "mean_ms": 61.4, "p50_ms": 39.2, "p95_ms": 241.0, "p99_ms": 465.3},
}
_SERIES = {
    "since": "2026-03-02T09:00:00Z",
    "until": "2026-03-02T09:15:00Z",
    "step": "15m",
    "counted_to": "2026-03-02T09:14:07Z",
    "total": _COUNTS,
    "points": [{"starts_at": "2026-03-02T09:00:00Z", **_COUNTS}],
}
SERIES = {"get_webhook_series": _SERIES, "get_series": _SERIES}
