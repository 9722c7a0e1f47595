"""Deleting through a dialect, while somebody else changes the same webhook."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher.accounts.api_keys import Scope
from dispatcher.db.models import Webhook
from dispatcher.settings import Settings
from tests.factories import change_within, make_webhook, rows
from tests.integration.api.conftest import MakeKey
from tests.waiting import wait_for_a_lock

# Method and path, with the webhook and a Zipwhip session to fill in.
EVERLYTIC = "/everlytic/api/2.0/production/sms/webhooks/{webhook.id}"
DELETIONS = {
    "bulksms": ("DELETE", "/bulksms/v1/webhooks/{webhook.number}"),
    "everlytic": ("DELETE", EVERLYTIC),
    "flexengage": ("DELETE", "/flexengage/v1/acme/webhooks/{webhook.id}"),
    "sinch": ("DELETE", "/sinch/v1/projects/acme/webhooks/{webhook.id}"),
    "zipwhip": ("POST", "/zipwhip/webhook/delete?session={session}&webhookId={webhook.number}"),
}


@pytest.mark.parametrize("dialect", DELETIONS)
def test_what_is_deleted_while_it_is_changed_takes_no_more_events(
    server: str, database: Engine, settings: Settings, make_key: MakeKey, dialect: str
) -> None:
    key = make_key("acme", Scope.READ, Scope.MANAGE)
    identifier, _, secret = key.partition(".")
    login = requests.get(f"{server}/zipwhip/user/login", {"username": identifier, "password": secret}, timeout=30)
    webhook = make_webhook(database, settings, url="https://example.com/", event_types=["a"])
    with database.begin() as connection:
        connection.execute(Webhook.__table__.update().values(dialect=dialect))
    method, path = DELETIONS[dialect]
    url = server + path.format(webhook=webhook, session=login.json()["response"])
    with ThreadPoolExecutor(1) as pool:
        with Session(database) as session, session.begin():
            change_within(session, settings, webhook.id, {"event_types": ["b"]})
            deleting = pool.submit(requests.request, method, url, auth=(identifier, secret), timeout=30)
            wait_for_a_lock(database)
        assert deleting.result(30).ok
    assert rows(database, "SELECT 1 FROM dispatcher.webhooks WHERE deleted_at IS NULL") == []
    assert rows(database, "SELECT event_type FROM dispatcher.subscriptions") == []
