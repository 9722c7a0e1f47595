import sys
from dataclasses import replace
from uuid import uuid4

import pytest

from dispatcher.contracts import DeliveryContract, Method
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
