"""The values of a body are counted as they come, however it is cut into pieces, and not those in strings."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.web.json_bounds import ValueCount

_TEXTS = st.text(alphabet='",[{\\\\x:é\n', max_size=8)
_DOCUMENTS = st.recursive(
    st.none() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=20,
)


def values_of(value: Any) -> int:
    """Lists and objects count as one, and what they have from the second on."""
    match value:
        case list():
            return 1 + max(len(value) - 1, 0) + sum(map(values_of, value))
        case dict():
            return 1 + max(len(value) - 1, 0) + sum(map(values_of, value.values()))
        case _:
            return 0


def is_over(most: int, pieces: list[bytes]) -> bool:
    count, before = ValueCount(most), bytearray()
    for piece in pieces:
        if count.is_over(before, piece):
            return True
        before += piece
    return False


@given(_DOCUMENTS, st.lists(st.integers(1, 9), min_size=1, max_size=9))
@example(["\\"] * 3, [1])
@example(["\\\\,", ',"', "\\"], [2, 1])
def test_a_body_is_over_the_limit_with_the_first_value_too_many_wherever_it_is_cut(
    document: Any, sizes: list[int]
) -> None:
    body = json.dumps(document, ensure_ascii=False).encode()
    pieces, at, turn = [], 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        pieces.append(body[at : at + size])
        at, turn = at + size, turn + 1
    values = values_of(document)
    assert not is_over(values, pieces)
    assert values == 0 or is_over(values - 1, pieces)
    assert values == 0 or is_over(values - 1, [body])


@pytest.mark.parametrize("more", [b"1,", b"[", b"[],", b'{"a":', b'"",', b'"\\"",'])
def test_what_comes_after_the_limit_is_not_looked_at(more: bytes) -> None:
    count, before, pieces = ValueCount(1_000), bytearray(b"["), 0
    while not count.is_over(before, more * 100):
        before += more * 100
        pieces += 1
    assert pieces <= 11


@pytest.mark.parametrize("inside", [b"x,", b"[{", b'\\"', b'\\",', b"\\\\", b"\\\\\\\\,"])
def test_a_long_text_is_one_value_in_pieces_of_any_size(inside: bytes) -> None:
    for size in (1, 2, 3, 64, 4_096):
        body = b'{"a":"' + inside * 3_000 + b'","b":[1]}'
        assert not is_over(3, [body[at : at + size] for at in range(0, len(body), size)])
        assert is_over(2, [body[at : at + size] for at in range(0, len(body), size)])
