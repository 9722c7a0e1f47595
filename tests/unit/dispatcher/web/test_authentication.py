from typing import Any
from uuid import UUID

import pytest
from fastapi import Request

from dispatcher.ids import new_id_text
from dispatcher.web.authentication import call_of


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 4711), "192.0.2.7"),
        (("2001:DB8::7", 4711), "2001:db8::7"),
        (None, None),  # a socket of the machine
        (("evil\x00<b>", 0), None),  # what a proxy let through
    ],
)
def test_the_address_of_a_call_is_one_or_none(client: Any, address: str | None) -> None:
    request_id = new_id_text()
    call = call_of(Request({"type": "http", "client": client, "state": {"id": request_id}}))
    assert (call.request_id, call.address) == (UUID(request_id), address)
