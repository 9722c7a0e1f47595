"""Examples of an account's limits and usage."""

from typing import Any

from dispatcher.errors import AtQuota
from dispatcher.settings.quotas import DEFAULTS, Quota, too_many

LIMITS = ("get_account_limits", "set_account_limits")
OWN_LIMITS: dict[str, Any] = {"webhooks": 5000, "events_per_day": None}
ONE_KEY_TOO_MANY = AtQuota(too_many(Quota.KEYS, 100))

_ALL: dict[str, Any] = {str(quota): limit for quota, limit in DEFAULTS.items()}
_LIMITS: dict[str, Any] = {"account": "acme", "own": OWN_LIMITS, "limits": _ALL | OWN_LIMITS}
LIMIT_ANSWERS: dict[str, Any] = {
    **dict.fromkeys(LIMITS, _LIMITS),
    "get_usage": {
        "account": "acme",
        "quotas": [
            {"quota": "webhooks", "unit": "webhooks", "limit": 5000, "used": 12, "counted_at": None},
            {
                "quota": "stored_bytes",
                "unit": "bytes stored for events",
                "limit": 100_000_000_000,
                "used": 81_240_512,
                "counted_at": "2026-03-02T09:30:00Z",
            },
        ],
    },
}
