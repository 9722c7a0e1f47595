"""An account's limits hold in each dialect, and are told in the vendor's own form, with name and value."""

from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from tests.dialects.callers import DIALECTS, MAKE, Vendors
from tests.factories import change
from tests.receiver import Receiver


def limit(database: Engine, limits: str) -> None:
    change(database, "UPDATE dispatcher.accounts SET limits = CAST(:limits AS jsonb)", limits=limits)


def url_for(dialect: str, receiver: Receiver) -> str:
    """BulkSMS calls the URL first; flexEngage wants HTTPS."""
    return "https://example.com/" if dialect == "flexengage" else receiver.url("/hook")


def error_of(dialect: str, answer: requests.Response) -> str:
    """The text of an error; checks that all else of it has the vendor's form."""
    found: dict[str, Any] = answer.json()
    status = answer.status_code
    match dialect:
        case "bulksms":
            assert (found.keys(), found["status"]) == ({"type", "title", "status", "detail"}, status)
            return str(found["detail"])
        case "everlytic":
            assert (found.keys(), found["status"]) == ({"status", "data"}, "error")
            return str(found["data"])
        case "flexengage":
            assert (found.keys(), found["status"]) == ({"message", "description", "status"}, status)
            return str(found["description"])
        case "sinch":
            error = found.pop("error")
            assert (found, found["code"]) == (error, status)
            return str(found["message"])
        case _:
            assert (found.keys(), found["success"]) == ({"success", "response"}, False)
            return str(found["response"])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_webhook_too_many_is_a_conflict(
    dialect: str, vendors: Vendors, database: Engine, receiver: Receiver
) -> None:
    vendors.make(dialect, url_for(dialect, receiver))
    limit(database, '{"webhooks": 1}')
    another = _filled(dialect, f"{url_for(dialect, receiver)}/other")
    refused = vendors.call(dialect, *another)
    assert refused.status_code == (200 if dialect == "zipwhip" else 409)  # Zipwhip refuses with 200
    assert error_of(dialect, refused) == "the account may have 1 webhooks (its limit `webhooks`), and has as many"
    limit(database, '{"webhooks": 2}')
    assert vendors.call(dialect, *another).ok


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_request_too_many_says_when_to_come_again(
    dialect: str, vendors: Vendors, database: Engine, receiver: Receiver, broker: object
) -> None:
    limit(database, '{"writes_per_minute": 1}')
    vendors.make(dialect, url_for(dialect, receiver))
    refused = vendors.call(dialect, *_filled(dialect, url_for(dialect, receiver)))
    assert (refused.status_code, 1 <= int(refused.headers["Retry-After"]) <= 60) == (429, True)
    told = "the account may make 1 API requests a minute that change something (its limit `writes_per_minute`)"
    assert error_of(dialect, refused).startswith(told)


def test_url_verifications_through_a_dialect_count(
    vendors: Vendors, database: Engine, receiver: Receiver, broker: object
) -> None:
    limit(database, '{"url_verifications_per_hour": 1}')
    vendors.make("bulksms", receiver.url("/hook"))
    refused = vendors.call("bulksms", *_filled("bulksms", receiver.url("/other")))
    assert refused.status_code == 429
    assert "1 URL verifications an hour" in error_of("bulksms", refused)
    assert len(receiver.received) == 1


def _filled(dialect: str, url: str) -> tuple[str, str, Any]:
    method, path, body = MAKE[dialect]

    def filled(value: Any) -> Any:
        match value:
            case dict():
                return {name: filled(each) for name, each in value.items()}
            case str():
                return value.replace("$url", url).replace("$name", "another")
            case _:
                return value

    return method, path, filled(body)
