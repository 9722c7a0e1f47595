"""Bodies of requests to the API, read through a model."""

from typing import Any

import pytest

from dispatcher.web.bodies import Body, validated
from dispatcher.web.problems import MAX_ERRORS, Problem


class Asked(Body):
    """What a body may hold here; keeps what it is read from."""

    known: int

    @classmethod
    def model_validate_json(cls, json_data: Any, **arguments: Any) -> "Asked":
        looked_at.append(json_data)
        return super().model_validate_json(json_data, **arguments)


looked_at: list[str] = []


def test_of_very_many_members_that_are_not_known_no_more_are_looked_at_than_are_reported() -> None:
    members = {str(number): "1" for number in range(100_000)} | {"known": "true"}
    with pytest.raises(Problem) as refused:
        validated(Asked, members)
    assert len(looked_at.pop()) < 300
    told = dict(refused.value.errors)
    assert len(told) == MAX_ERRORS
    assert "known" in told
    assert validated(Asked, {"known": "1"}).known == 1
