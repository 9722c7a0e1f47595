from uuid import UUID

import pytest

from workers.claims.claims import _passes


@pytest.mark.parametrize(
    ("start", "end", "mark", "passes"),
    [
        (1, 5, 3, True),
        (1, 5, 5, True),
        (1, 5, 1, False),
        (1, 5, 7, False),
        (5, 1, 7, True),  # over the end and round to the beginning
        (5, 1, 1, True),
        (5, 1, 3, False),
        (5, 1, 5, False),
        (5, 5, 5, True),  # a whole circle
    ],
)
def test_a_round_is_done_when_its_start_is_passed(start: int, end: int, mark: int, passes: bool) -> None:
    assert _passes(*(str(UUID(int=place)) for place in (start, end, mark))) is passes
