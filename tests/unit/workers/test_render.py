import sys
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from dispatcher.contracts import DeliveryContract, Method, read_contract
from dispatcher.errors import InvalidWebhook
from tests.claims import CLAIM, TARGET
from workers.render import RenderFailed, render

BY_GET = replace(TARGET, contract=DeliveryContract(method=Method.GET))


def test_a_message_of_any_depth_has_a_url_or_is_refused_and_raises_nothing_else() -> None:
    outcomes = []
    # Each part of the reading has its own depth at which the stack ends: one of these depths hits it.
    for depth in range(sys.getrecursionlimit() + 1):
        claim = CLAIM._replace(data=b'{"n":' + b"[" * depth + b"]" * depth + b"}" if depth else b'{"n":1}')
        try:
            outcomes.append(render([claim], BY_GET, str(uuid4()), now=0, scale=1).url.partition("?")[0])
        except RenderFailed as why:
            outcomes.append(str(why))
    deepest = outcomes.count(BY_GET.url)
    assert outcomes[:deepest] == [BY_GET.url] * deepest
    assert set(outcomes[deepest:]) <= {"the webhook's method is GET and the message is no JSON object of usual depth"}
    assert deepest > 100


@pytest.mark.parametrize("data", [b"[1]", b"1", b'"text"', b'{"a":1,"a":2}', b"{", b"\xff"])
def test_what_is_no_json_object_is_refused_for_get(data: bytes) -> None:
    with pytest.raises(RenderFailed, match="GET"):
        render([CLAIM._replace(data=data)], BY_GET, str(uuid4()), now=0, scale=1)


MEMBERS = [
    ["id", "event_id"],
    ["brandId", "account"],
    ["webhookId", "webhook_id"],
    ["attemptId", "attempt_id"],
    ["created", "created_at"],
    ["happened", "occurred_at"],
    ["app", "app"],
    ["type", "event_type"],
    ["data", "data"],
]
DATA = b'{"id": 634151298329219072, "cost": 1.10, "text": "caf\xc3\xa9", "a": 1, "a": 2}'


def test_members_are_put_around_the_message_in_their_order_and_leave_its_bytes_alone() -> None:
    target = replace(TARGET, contract=read_contract({"envelope": "object", "members": MEMBERS}))
    claim = CLAIM._replace(event_id="0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", data=DATA)
    request = render([claim], target, "request", now=0, scale=1)
    created = "2025-08-14T04:37:19.007Z"
    assert request.body == (
        b'{"id":"0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00","brandId":"acme","webhookId":"%b","attemptId":"request",'
        b'"created":"%b","happened":"2026-01-01T00:00:00.000Z","app":null,"type":"t","data":%b}'
        % (TARGET.id.encode(), created.encode(), DATA)
    )


def test_in_an_array_each_message_has_its_members() -> None:
    target = replace(TARGET, contract=read_contract({"members": [["m", "data"]]}))
    body = render([CLAIM._replace(data=b"1"), CLAIM._replace(data=b"2")], target, "request", now=0, scale=1).body
    assert body == b'[{"m":1},{"m":2}]'


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"members": [["a", "event_id"]]}, "must hold the data"),
        ({"members": [["a", "data"], ["a", "event_id"]]}, "one name twice"),
        ({"members": [["a", "data"]], "method": "GET"}, "need the method"),
        ({"members": [["a", "secret"]]}, "contract.members"),
        ({"members": [["", "data"]]}, "contract.members"),
        ({"members": [["a\r\nb", "data"]]}, "contract.members"),
    ],
)
def test_members_that_make_no_sense_are_refused(document: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidWebhook, match=says):
        read_contract(document)


def test_what_the_body_is_can_be_told_with_its_charset() -> None:
    target = replace(TARGET, contract=read_contract({"content_type": "application/json; charset=UTF-8"}))
    headers = dict(render([CLAIM], target, "request", now=0, scale=1).headers)
    assert headers["Content-Type"] == "application/json; charset=UTF-8"
