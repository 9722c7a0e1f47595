from typing import Any
from uuid import uuid4

import pytest

from dispatcher.webhooks.contract import DeliveryContract
from tests.claims import CLAIM
from workers.callbacks.batches import BODY_CAP, batches
from workers.claims.claims import Claim


def cut(claims: list[Claim], size: int) -> list[int]:
    made = list(batches(claims, DeliveryContract(batch_size=size)))
    assert [claim for batch in made for claim in batch] == claims  # all of them, in their order
    return [len(batch) for batch in made]


def claims(count: int, **changes: Any) -> list[Claim]:
    return [CLAIM._replace(delivery_id=str(uuid4()), **changes) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(0, 10, []), (3, 1, [1, 1, 1]), (10, 10, [10]), (11, 10, [10, 1]), (250, 100, [100, 100, 50])],
)
def test_a_batch_has_at_most_the_contracts_size(count: int, size: int, expected: list[int]) -> None:
    assert cut(claims(count), size) == expected


def test_messages_of_different_apps_do_not_share_a_request() -> None:
    assert cut([*claims(3, app="a"), *claims(2, app="b"), *claims(1), *claims(2, app="a")], 10) == [3, 2, 1, 2]


def test_the_body_stays_within_a_mebibyte() -> None:
    size = BODY_CAP // 4 - 1
    assert cut(claims(9, data=b"x" * size), 100) == [3, 3, 3]  # commas and brackets count too
    assert cut(claims(8, data=b"x" * (size - 1)), 100) == [4, 4]
    exact = (BODY_CAP - 2 - 3) // 4  # two brackets, three commas
    (batch,) = batches(claims(4, data=b"x" * exact), DeliveryContract(batch_size=100))
    assert len(b"[" + b",".join(claim.data for claim in batch) + b"]") <= BODY_CAP


def test_a_message_larger_than_that_goes_alone() -> None:
    assert cut([*claims(2), *claims(1, data=b"x" * (2 * BODY_CAP)), *claims(2)], 100) == [2, 1, 2]


def test_those_that_failed_in_a_batch_are_among_themselves_in_smaller_ones() -> None:
    assert cut([*claims(2), *claims(5, batch_limit=2), *claims(2, batch_limit=1), *claims(3)], 10) == [
        2,
        2,
        2,
        1,
        1,
        1,
        3,
    ]
