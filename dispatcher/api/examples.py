"""Example bodies and answers of the API by operation id, all about one account. Tests check each against its schema."""

from typing import Any

from dispatcher.api.account_examples import ACCOUNTS_AND_KEYS, KEY_ID
from dispatcher.api.contact_examples import CONTACT_ID, CONTACTS
from dispatcher.api.limit_examples import LIMIT_ANSWERS, LIMITS, ONE_KEY_TOO_MANY, OWN_LIMITS
from dispatcher.api.portal_examples import NEW_LINK, ONE_SESSION_TOO_MANY, PORTAL, PORTAL_ANSWERS
from dispatcher.api.redelivery_examples import NEW_REDELIVERY, NEW_REPLAY, REDELIVERIES, REDELIVERY_ID
from dispatcher.api.redelivery_examples import WEBHOOK_ID as _WEBHOOK_ID
from dispatcher.api.series_examples import SERIES
from dispatcher.errors import Conflict, DispatcherError, KeyReused, NameTaken, NotFound, Overtaken, WrongState
from dispatcher.version import __version__
from dispatcher.web.problems import problem_for
from dispatcher.webhooks.contract import DeliveryContract

_EVENT_ID = "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"
_DELIVERY_ID = "0198a6de-3c1f-7d07-8b1d-3f0a52c4e6b1"
_REQUEST_ID = "0198a6de-3c4e-7a90-b6f2-9e1d4c7a5b30"
_CAME_IN, _SOON = "2026-03-02T09:15:00.127000Z", "2026-03-02T09:15:00.312000Z"
_LATER = "2026-03-04T09:15:00.127000Z"
_TYPE = "message.inbound.received"
_MESSAGE = {"id": "4023457654", "from": "27001234567", "body": "Yes"}
_URL = "https://example.com/hook"
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the example of the public specification

_SIGNING_KEY = {"kind": "hmac", "secret": "***", "public_key": None, "until": None}
_KEY_IN_CLEAR = {**_SIGNING_KEY, "secret": _SECRET}
_OLD_KEY_IN_CLEAR = {
    **_SIGNING_KEY,
    "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "until": "2026-03-04T09:00:00Z",
}

_NEW_WEBHOOK = {
    "url": f"{_URL}?key=s3cret",
    "event_types": ["message.inbound", "message.outbound.failed"],
    "name": "orders",
    "contact_email": "ops@example.com",
    "contract": {"batch_size": 10, "rules": {"429": {"verdict": "temporary", "honour_retry_after": True}}},
    "authorization": {"kind": "basic", "username": "dispatcher", "password": "s3cret"},
}

_WEBHOOK: dict[str, Any] = {
    "id": _WEBHOOK_ID,
    "account": "acme",
    "app": None,
    "name": "orders",
    "dialect": None,
    "url": f"{_URL}?key=***",
    "event_types": ["message.inbound", "message.outbound.failed"],
    "contact_email": "ops@example.com",
    "enabled": True,
    "disabled_at": None,
    "disabled_by": None,
    "disabled_reason": None,
    "circuit": "closed",
    "quarantined_at": None,
    "quarantined_reason": None,
    "unreadable": None,
    "contract": DeliveryContract.model_validate(_NEW_WEBHOOK["contract"]).model_dump(mode="json"),
    "authorization": {
        "kind": "basic",
        "username": "dispatcher",
        "password": "***",
        "token": None,
        "endpoint": None,
        "client_id": None,
        "client_secret": None,
        "scope": None,
        "response_type": None,
        "token_request": None,
    },
    "headers": {},
    "signing_keys": [_SIGNING_KEY],
    "body_secret": None,
    "nonce_secret": None,
    "created_at": "2026-03-02T09:00:00Z",
    "updated_at": "2026-03-02T09:00:00Z",
}

_EVENT = {
    "id": _EVENT_ID,
    "type": _TYPE,
    "app": None,
    "subject": "4023457654",
    "occurred_at": "2026-03-02T09:14:59Z",
    "created_at": _CAME_IN,
    "expires_at": None,
    "delivery_count": 1,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "erased": False,
}

_DELIVERY = {
    "id": _DELIVERY_ID,
    "state": "delivered",
    "reason": None,
    "event_id": _EVENT_ID,
    "event_type": _TYPE,
    "subject": "4023457654",
    "webhook_id": _WEBHOOK_ID,
    "webhook_name": "orders",
    "webhook_url": f"{_URL}?key=***",
    "attempt_count": 1,
    "due_at": _CAME_IN,
    "give_up_at": _LATER,
    "created_at": _CAME_IN,
    "finished_at": _SOON,
}
_OPEN_DELIVERY = {**_DELIVERY, "state": "ready", "finished_at": None}

_ATTEMPT = {
    "number": 1,
    "recorded_at": _SOON,
    "verdict": "acknowledged",
    "outcome_unknown": False,
    "request": {
        "id": _REQUEST_ID,
        "method": "POST",
        "url": f"{_URL}?key=***",
        "headers": [
            {"name": "Content-Type", "value": "application/json"},
            {"name": "Authorization", "value": "***"},
            {"name": "webhook-id", "value": _EVENT_ID},
        ],
        "started_at": "2026-03-02T09:15:00.174000Z",
        "duration_ms": 131.4,
    },
    "answer": {
        "status": 200,
        "headers": [{"name": "Content-Type", "value": "text/plain"}],
        "text": "ok",
        "base64": None,
        "is_cut": False,
        "is_unreadable": False,
    },
    "failure": None,
    "refused": None,
}

_ACCEPTED = {"event_id": _EVENT_ID, "deliveries": 1, "repeated": False, "nearest_types": []}
_MISSED = {
    "event_id": "0198a6de-3c20-7e11-8d4a-7b9c1d3e5f02",
    "deliveries": 0,
    "repeated": False,
    "nearest_types": ["message.inbound"],
}

_TAKEN = {
    "code": "webhooks_took_it",
    "text": "1 webhook took it when it was stored; its deliveries: 1 delivered.",
    "parameters": {"webhooks": 1, "delivered": 1},
}
_WELL = {"code": "webhook_well", "text": "The webhook is enabled, and its circuit is closed: what is due is sent."}
_DELIVERED = {
    "code": "delivered",
    "text": "It was delivered at 2026-03-02 09:15:00Z (12 min ago), with attempt 1: the receiver answered 200.",
    "parameters": {"delivered_at": _SOON, "number": 1, "status": 200},
}

_NOTICE = {
    "id": "0198a6df-02bb-7c68-b0a9-2c4e6f8a1b3d",
    "webhook_id": _WEBHOOK_ID,
    "webhook_name": "orders",
    "webhook_deleted": False,
    "kind": "message_retrying",
    "error": "http_503",
    "observed_at": "2026-03-02T09:20:00Z",
    "delivery_id": _DELIVERY_ID,
    "request_id": _REQUEST_ID,
    "retry_at": "2026-03-02T09:21:30Z",
    "contact": "ops@example.com",
    "contact_state": "confirmed",
    "sent_count": 1,
    "last_sent_at": "2026-03-02T09:20:01Z",
    "suppressed_count": 7,
    "next_mail_at": None,
    "held_back": False,
    "quarantined_at": None,
    "quarantined_reason": None,
    "quiet_until": "2026-03-03T09:20:01Z",
}

_CHANGE = {
    "id": "0198a6e1-5c3d-7d90-8e7f-3b5d7f9a1c2e",
    "at": "2026-03-02T09:18:00.125000Z",
    "by": f"API key {KEY_ID}",
    "actor": "api_key",
    "key_id": KEY_ID,
    "dialect": None,
    "user": None,
    "account": "acme",
    "action": "webhook.changed",
    "target_kind": "webhook",
    "target_id": _WEBHOOK_ID,
    "detail": {"changed": {"name": {"old": "orders", "new": "orders, new"}}},
    "request_id": "0198a6e1-5c3b-7f02-a1b2-c3d4e5f60718",
    "address": "192.0.2.7",
    "session_id": None,
}


def _problem(error: DispatcherError) -> dict[str, Any]:
    return problem_for(error).document()


def _page(item: dict[str, Any]) -> dict[str, Any]:
    return {"items": [item], "next": None}


BODIES: dict[str, Any] = {
    "send_event": {"type": _TYPE, "data": _MESSAGE, "subject": "4023457654"},
    "send_events": {
        "events": [
            {"type": _TYPE, "data": _MESSAGE, "idempotency_key": "sms-4023457654"},
            {"type": "mesage.inbound.received", "data": _MESSAGE},
            {"type": _TYPE, "data": {"id": "another"}, "idempotency_key": "sms-4023457654"},
        ]
    },
    "create_webhook": _NEW_WEBHOOK,
    "update_webhook": {"name": "orders, new", "app": None, "contract": {"timeout_seconds": 10, "rate_limit": None}},
    "enable_webhook": {},
    "disable_webhook": {"reason": "asked for by the customer"},
    "rotate_webhook_secret": {"overlap_seconds": 172_800},
    "test_webhook": {"type": _TYPE, "data": _MESSAGE},
    "send_event_to_webhook": {"webhook": _WEBHOOK_ID},
    "replay_webhook": NEW_REPLAY,
    "create_redelivery": NEW_REDELIVERY,
    "create_account": {"name": "acme"},
    "set_account_limits": OWN_LIMITS,
    "create_key": {"account": "acme", "scopes": ["send", "read"], "name": "backend", "days": 365},
    "create_portal_link": NEW_LINK,
    "create_token": {"grant_type": "client_credentials", "client_id": KEY_ID, "client_secret": "s3cret"},
}

ANSWERS: dict[str, Any] = {
    "healthz": {"status": "ok", "version": __version__},
    "readyz": {"status": "ready", "parts": {"database": {"status": "ok", "detail": None}}},
    "readyz 503": {
        "status": "not ready",
        "parts": {"broker": {"status": "failed", "detail": "the broker (BROKER_URL) does not answer: ConnectionError"}},
    },
    "send_event": _ACCEPTED,
    "send_events": {
        "accepted": 2,
        "refused": 1,
        "items": [
            {"status": "accepted", **_ACCEPTED},
            {"status": "accepted", **_MISSED},
            {
                "status": "refused",
                "errors": [{"field": "idempotency_key", "reason": "was used before for an event with other content"}],
            },
        ],
    },
    "list_events": _page(_EVENT),
    "get_event": {
        **_EVENT,
        "account": "acme",
        "deliveries": [_DELIVERY],
        "deliveries_next": None,
        "explanation": [_TAKEN],
        "data": _MESSAGE,
    },
    "create_webhook": {**_WEBHOOK, "signing_keys": [_KEY_IN_CLEAR]},
    "list_webhooks": _page(_WEBHOOK),
    "get_webhook": _WEBHOOK,
    "update_webhook": {**_WEBHOOK, "name": "orders, new", "updated_at": "2026-03-02T09:18:00Z"},
    "enable_webhook": _WEBHOOK,
    "disable_webhook": {
        **_WEBHOOK,
        "enabled": False,
        "disabled_at": "2026-03-02T10:00:00Z",
        "disabled_by": f"API key {KEY_ID}",
        "disabled_reason": "asked for by the customer",
    },
    "release_webhook": _WEBHOOK,
    "rotate_webhook_secret": {**_WEBHOOK, "signing_keys": [_KEY_IN_CLEAR, _OLD_KEY_IN_CLEAR]},
    "get_webhook_secrets": {"url": f"{_URL}?key=s3cret", "signing_keys": [_KEY_IN_CLEAR]},
    "test_webhook": {"event_id": _EVENT_ID, "delivery_id": _DELIVERY_ID},
    "get_webhook_health": {
        "enabled": True,
        "deleted_at": None,
        "quarantined_at": None,
        "quarantined_reason": None,
        "unreadable": None,
        "circuit": {
            "state": "closed",
            "failures_in_a_row": 0,
            "failing_since": None,
            "opened_at": None,
            "next_trial_at": None,
        },
        "deliveries": {
            "since": "2026-03-01T09:30:00Z",
            "counts": {"delivered": 412, "waiting": 1},
            "complete": True,
        },
        "open": {"count": 1, "complete": True},
        "last_answer": {
            "request_id": _REQUEST_ID,
            "at": _SOON,
            "status": 200,
            "failure": None,
            "failure_detail": None,
            "duration_ms": 131.4,
        },
        "oldest_due": None,
        "explanation": [{**_WELL, "parameters": {}}],
    },
    **SERIES,
    "list_notices": _page(_NOTICE),
    "release_notice": {**_NOTICE, "next_mail_at": _SOON},
    **CONTACTS,
    "list_deliveries": _page(_DELIVERY),
    "get_delivery": {
        **_DELIVERY,
        "account": "acme",
        "event": _EVENT,
        "attempts": [_ATTEMPT],
        "attempts_next": None,
        "explanation": [_DELIVERED],
    },
    "send_event_to_webhook": _OPEN_DELIVERY,
    "redeliver_delivery": _OPEN_DELIVERY,
    "cancel_delivery": {**_DELIVERY, "state": "cancelled"},
    **REDELIVERIES,
    **ACCOUNTS_AND_KEYS,
    **LIMIT_ANSWERS,
    **PORTAL_ANSWERS,
    "list_changes": _page(_CHANGE),
    "get_installation": {"version": "0.3.0.dev0", "egress_ranges": ["198.51.100.0/28"]},
    "create_token": {
        "access_token": "at.AZimyBHSf06Vo2uMDS5PYQ.s3cret",
        "expires_in": 3600,
        "scope": "read send",
        "token_type": "bearer",
    },
    **{
        f"{operation} 404": _problem(NotFound(kind, identifier))
        for kind, identifier, operations in (
            ("event", _EVENT_ID, ("get_event", "send_event_to_webhook")),
            ("notice", _NOTICE["id"], ("release_notice",)),
            ("contact", CONTACT_ID, ("confirm_contact", "unsubscribe_contact")),
            ("delivery", _DELIVERY_ID, ("get_delivery", "redeliver_delivery", "cancel_delivery")),
            ("bulk redelivery", REDELIVERY_ID, ("get_redelivery", "cancel_redelivery")),
            ("key", KEY_ID, ("revoke_key",)),
            (
                "account",
                "acme",
                ("get_account", "delete_account", "suspend_account", "resume_account", *LIMITS, *PORTAL),
            ),
        )
        for operation in operations
    },
    "send_event 409": _problem(KeyReused("sms-4023457654")),
    **dict.fromkeys(
        ("create_webhook 409", "update_webhook 409"),
        _problem(NameTaken("the account has a webhook of this name already")),
    ),
    "enable_webhook 409": _problem(Overtaken("others changed the webhook at the same time: check it, and try again")),
    "redeliver_delivery 409": _problem(
        WrongState("the delivery is ready, so still on its way: only a closed one can be redelivered")
    ),
    **dict.fromkeys(
        ("send_event_to_webhook 409", "replay_webhook 409"),
        _problem(WrongState("the webhook is disabled: nothing is sent to it until it is enabled")),
    ),
    "cancel_delivery 409": _problem(WrongState("the delivery is delivered already: only an open one can be cancelled")),
    "create_redelivery 409": _problem(
        Conflict("the account has 10 bulk redeliveries under way: let one end, or cancel it")
    ),
    "cancel_redelivery 409": _problem(WrongState("the bulk redelivery is finished already")),
    "create_key 409": _problem(ONE_KEY_TOO_MANY),
    "create_portal_link 409": _problem(ONE_SESSION_TOO_MANY),
    "create_account 409": _problem(NameTaken("there is an account 'acme' already")),
    "resume_account 409": _problem(WrongState("the account 'acme' is being deleted")),
    "create_token 400": {"error": "invalid_request", "error_description": "grant_type is required"},
    "create_token 401": {
        "error": "invalid_client",
        "error_description": "a valid API key is needed: its id and secret, by HTTP Basic or in the form",
    },
}
