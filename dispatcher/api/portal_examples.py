"""Examples of links to the portal."""

from typing import Any

from dispatcher.errors import AtQuota
from dispatcher.settings.quotas import Quota, too_many

PORTAL = ("create_portal_link", "end_portal_sessions")
NEW_LINK: dict[str, Any] = {"scopes": ["read", "manage"], "user": "user-17", "path": "/webhooks"}
ONE_SESSION_TOO_MANY = AtQuota(too_many(Quota.PORTAL_SESSIONS, 1_000))

_LINK_ID = "0198a6e2-0b7c-7d15-a2c4-e6f80a1c3e5d"
PORTAL_ANSWERS: dict[str, Any] = {
    "create_portal_link": {
        "id": _LINK_ID,
        "url": f"https://hooks.example.com/portal/enter#{_LINK_ID}.s3cret",
        "expires_at": "2026-03-02T09:36:00Z",
    },
}
