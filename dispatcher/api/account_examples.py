"""Example answers about accounts and keys, by operation id."""

from typing import Any

KEY_ID = "0198a6c8-11d2-7f4e-95a3-6b8c0d2e4f61"
OF_AN_ACCOUNT = ("get_account", "delete_account", "suspend_account", "resume_account")

_ACCOUNT = {
    "id": "0198a6c7-5e10-7a01-8c2d-4f6e8a0b1c2d",
    "name": "acme",
    "created_at": "2026-03-01T08:00:00Z",
    "suspended_at": None,
    "deleted_at": None,
}
_KEY = {
    "id": KEY_ID,
    "account": "acme",
    "name": "backend",
    "scopes": ["send", "read"],
    "created_at": "2026-03-01T08:05:00Z",
    "expires_at": "2027-03-01T08:05:00Z",
    "revoked_at": None,
    "last_used_at": None,
}

ACCOUNTS_AND_KEYS: dict[str, Any] = {
    "create_account": _ACCOUNT,
    "list_accounts": {"items": [_ACCOUNT], "next": None},
    "suspend_account": {**_ACCOUNT, "suspended_at": "2026-03-02T09:31:00Z"},
    "resume_account": _ACCOUNT,
    "get_account": {**_ACCOUNT, "webhooks": 12, "deliveries": 48120},
    "delete_account": {**_ACCOUNT, "suspended_at": "2026-03-02T09:31:00Z", "deleted_at": "2026-03-02T09:31:00Z"},
    "create_key": {**_KEY, "token": f"{KEY_ID.replace('-', '')}.s3cret"},
    "list_keys": {"items": [_KEY], "next": None},
}
