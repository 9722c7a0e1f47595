"""A suspended account is refused in each vendor's own form, and with the reason where the vendor has room for one."""

import pytest
import requests
from sqlalchemy import Engine

from tests.dialects.callers import DIALECTS, MAKE, Vendors
from tests.factories import change
from tests.receiver import Receiver

REASON = "the account 'acme' is suspended"
# The vendor's own text for every 403.
_PUBLISHED = {"sinch": "You do not have access to the requested resource."}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_is_refused_and_served_again_once_it_is_resumed(
    dialect: str, vendors: Vendors, database: Engine, receiver: Receiver
) -> None:
    change(database, "UPDATE dispatcher.accounts SET suspended_at = now()")
    refused = vendors.call(dialect, *MAKE[dialect])
    assert refused.status_code == (200 if dialect == "zipwhip" else 403)  # Zipwhip refuses with 200
    # Zipwhip gives no session out, and the call is made with that refusal.
    assert {"zipwhip": "session is not valid"}.get(dialect, _PUBLISHED.get(dialect, REASON)) in refused.text
    change(database, "UPDATE dispatcher.accounts SET suspended_at = NULL")
    # BulkSMS calls the URL first; flexEngage wants HTTPS.
    vendors.make(dialect, "https://example.com/" if dialect == "flexengage" else receiver.url("/hook"))


def test_neither_a_login_nor_a_session_of_zipwhip_opens_it(vendors: Vendors, database: Engine) -> None:
    identifier, _, secret = vendors.token.partition(".")
    login = {"username": identifier, "password": secret}

    def asked(path: str, form: dict[str, str]) -> tuple[int, object]:
        answer = requests.post(f"{vendors.origin}/zipwhip{path}", form, timeout=30)
        return answer.status_code, answer.json()

    session = requests.post(f"{vendors.origin}/zipwhip/user/login", login, timeout=30).json()["response"]
    change(database, "UPDATE dispatcher.accounts SET suspended_at = now()")
    refused = 200, {"success": False, "response": REASON}
    assert asked("/user/login", login) == refused
    assert asked("/webhook/list", {"session": session}) == refused
