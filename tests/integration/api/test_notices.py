"""`GET /v1/notices`: what contacts are told of."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher.settings import Settings
from dispatcher.webhooks.notices import NoticeKind
from tests.factories import change, change_webhook
from tests.integration.api.conftest import Api, errors
from tests.integration.workers.notices.conftest import mailer_for
from tests.integration.workers.notices.scenario import (
    CONTACT,
    error,
    fail,
    notices,
    seen,
    the_notice,
    webhook_with_contact,
)
from tests.mail_server import MailServer
from workers.notices.send import send_due


def items(api: Api, token: str, query: str = "") -> list[dict[str, Any]]:
    answer = api.call("GET", f"/v1/notices{query}", token=token)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_a_notice_shows_what_is_due_then_what_was_sent_and_how_often_it_was_not(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    webhook = webhook_with_contact(database, settings)
    observation = error(database, webhook)
    seen(database, observation)
    (notice,) = items(api, manager)
    row = the_notice(database)
    assert UUID(notice.pop("id")) == row.id
    assert datetime.fromisoformat(notice.pop("observed_at")) == row.observed_at
    assert datetime.fromisoformat(notice.pop("retry_at")) == row.retry_at
    assert datetime.fromisoformat(notice.pop("next_mail_at")) == row.due_at
    assert notice == {
        "webhook_id": str(webhook.id),
        "webhook_name": "Orders",
        "webhook_deleted": False,
        "kind": "message_retrying",
        "error": "http_503",
        "delivery_id": str(observation.delivery_id),
        "request_id": str(observation.request_id),
        "contact": CONTACT,
        "contact_state": "confirmed",
        "sent_count": 0,
        "last_sent_at": None,
        "suppressed_count": 0,
        "held_back": False,
        "quarantined_at": None,
        "quarantined_reason": None,
        "quiet_until": None,
    }
    with MailServer() as server:
        send_due(database, mailer_for(settings, server.port))
    fail(database, webhook)
    (sent,) = items(api, manager)
    assert (sent["sent_count"], sent["suppressed_count"], sent["next_mail_at"]) == (1, 1, None)
    assert sent["last_sent_at"].endswith("Z")
    last, quiet = (datetime.fromisoformat(sent[name]) for name in ("last_sent_at", "quiet_until"))
    assert quiet - last == timedelta(hours=24)


def test_a_list_is_narrowed_by_webhook_and_kind_and_deleted_ones_stay_in_it(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    first = webhook_with_contact(database, settings)
    second = webhook_with_contact(database, settings, name="Second", contact_email=None)
    fail(database, first)
    fail(database, first, kind=NoticeKind.MESSAGE_DISCARDED, status=400)
    fail(database, second)
    change_webhook(database, settings, second, "delete")

    def found(query: str) -> list[tuple[str, str]]:
        return [(item["webhook_name"], item["kind"]) for item in items(api, manager, query)]

    assert found("") == [
        ("Second", "message_retrying"),
        ("Orders", "message_discarded"),
        ("Orders", "message_retrying"),
    ]
    assert found(f"?webhook={first.id}") == [("Orders", "message_discarded"), ("Orders", "message_retrying")]
    assert found("?kind=message_retrying") == [("Second", "message_retrying"), ("Orders", "message_retrying")]
    assert found(f"?kind=webhook_disabled&webhook={first.id}") == []
    assert [(item["webhook_deleted"], item["contact"]) for item in items(api, manager, "?limit=1")] == [(True, None)]


def test_pages_stay_right_while_notices_come_and_change(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    webhook = webhook_with_contact(database, settings)
    for status in range(500, 505):
        fail(database, webhook, status=status)
    first = api.call("GET", "/v1/notices?limit=2", token=manager).json()
    fail(database, webhook, status=505)
    fail(database, webhook, status=501)
    change(database, "DELETE FROM dispatcher.notices WHERE fingerprint = 'http_502'")
    second = api.call("GET", f"/v1/notices?limit=2&cursor={first['next']}", token=manager).json()
    assert [item["error"] for item in (*first["items"], *second["items"])] == [
        *("http_504", "http_503"),
        *("http_501", "http_500"),
    ]
    assert second["next"] is None
    assert len(notices(database)) == 5


def test_another_accounts_notices_are_not_there(
    api: Api, manager: str, operator: str, database: Engine, settings: Settings
) -> None:
    theirs = webhook_with_contact(database, settings, account="other")
    fail(database, theirs)
    assert items(api, manager) == []
    assert items(api, manager, f"?webhook={theirs.id}") == []
    assert api.call("GET", "/v1/notices?account=other", token=manager).status_code == 403
    assert len(items(api, operator, "?account=other")) == 1
    assert list(errors(api.call("GET", "/v1/notices", token=operator))) == ["account"]


@pytest.mark.parametrize("query", ["kind=mail", "webhook=1", "limit=x", "cursor=!"])
def test_parameters_that_are_none_are_named(api: Api, manager: str, query: str) -> None:
    answer = api.call("GET", f"/v1/notices?{query}", token=manager)
    assert (answer.status_code, list(errors(answer))) == (422, [query.partition("=")[0]])


def test_a_mail_that_waits_for_its_turn_is_reported_with_its_time(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    webhook = webhook_with_contact(database, settings)
    seen(database, *[error(database, webhook, status=status) for status in (502, 503)])
    with MailServer() as server:
        send_due(database, mailer_for(settings, server.port, mails_per_webhook_minute=1))
    sent, waits = sorted(items(api, manager), key=lambda item: item["held_back"])
    assert (sent["held_back"], sent["sent_count"], sent["next_mail_at"]) == (False, 1, None)
    assert (waits["held_back"], waits["sent_count"]) == (True, 0)
    last, following = datetime.fromisoformat(sent["last_sent_at"]), datetime.fromisoformat(waits["next_mail_at"])
    assert following - last == timedelta(minutes=1)
