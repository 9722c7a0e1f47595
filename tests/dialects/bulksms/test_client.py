"""PyPI's client `bulksms`, unchanged, against a running server. It has no calls for webhooks, only a generic one."""

import json
from typing import Any
from urllib.error import HTTPError

import pytest
from sqlalchemy import Engine

from tests.dialects.bulksms.conftest import BulkSms
from tests.factories import rows


@pytest.fixture
def client(bulksms: BulkSms) -> Any:
    from bulksms import BulkSMS  # noqa: PLC0415 - it configures the logs of the process that imports it

    made = BulkSMS(token_id=bulksms.key[0], token_secret=bulksms.key[1])
    made.api_base = f"{bulksms.origin}/bulksms/v1"
    made.timeout_s = 30
    return made


def test_it_makes_reads_lists_changes_and_deletes(database: Engine, bulksms: BulkSms, client: Any) -> None:
    entry = {"name": "n1", "url": bulksms.receiver.url("/hook?secret=x"), "triggerScope": "SENT", "active": True}
    made = client.do_send(client.get_url("webhooks"), js=entry, method="POST")
    assert {name: made[name] for name in entry} == entry
    one = client.get_url(f"webhooks/{made['id']}")
    assert client.do_send(one) == made
    assert client.do_send(client.get_url("webhooks")) == [made]
    changed = client.do_send(one, js=entry | {"name": "n2"}, method="POST")
    assert changed == made | {"name": "n2"}
    # This client parses every answer as JSON, and this one is empty. The webhook is deleted anyway.
    with pytest.raises(json.JSONDecodeError):
        client.do_send(one, method="DELETE")
    assert client.do_send(client.get_url("webhooks")) == []
    assert rows(database, "SELECT deleted_at FROM dispatcher.webhooks")[0].deleted_at is not None


def test_it_sees_errors_as_the_vendors_problem_objects(bulksms: BulkSms, client: Any) -> None:
    with pytest.raises(HTTPError) as refused:
        client.do_send(client.get_url("webhooks/1"))
    with refused.value as answer:
        assert (answer.code, json.load(answer)["detail"]) == (404, "Webhook with id '1' does not exist")
    client.login["password"] = "wrong"
    with pytest.raises(HTTPError) as refused:
        client.do_send(client.get_url("webhooks"))
    with refused.value as answer:
        assert (answer.code, json.load(answer)["title"]) == (401, "Authentication Failed")
