"""Example answers about contacts, by operation id."""

from typing import Any

CONTACT_ID = "0198a6dc-7e21-7b42-9a3c-5d7e9f1b3a4c"

_CONTACT = {
    "id": CONTACT_ID,
    "address": "ops@example.com",
    "state": "confirmed",
    "webhooks": 2,
    "confirmed_at": "2026-03-01T08:12:40Z",
    "confirmed_by": "the contact",
    "unsubscribed_at": None,
    "unsubscribed_by": None,
    "sent_count": 3,
    "last_sent_at": "2026-03-02T09:20:01Z",
    "held_back": 0,
}
_OPERATOR = "API key 0198a6c8-11d2-7f4e-95a3-6b8c0d2e4f61"

CONTACTS: dict[str, Any] = {
    "list_contacts": {"items": [_CONTACT], "next": None},
    "confirm_contact": {**_CONTACT, "confirmed_by": _OPERATOR},
    "unsubscribe_contact": {
        **_CONTACT,
        "state": "unsubscribed",
        "confirmed_at": None,
        "confirmed_by": None,
        "unsubscribed_at": "2026-03-02T09:31:00Z",
        "unsubscribed_by": _OPERATOR,
    },
}
