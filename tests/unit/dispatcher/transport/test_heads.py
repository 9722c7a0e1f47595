"""The reader of heads refuses by itself: what a library below it lets through depends on the library's version."""

import pytest

from dispatcher.transport.failure_texts import STRAY_BYTE
from dispatcher.transport.heads import Head


@pytest.mark.parametrize("stray", [b"\0", b"\r"], ids=["NUL", "a lone CR"])
@pytest.mark.parametrize("before", [[], [b"HTTP/1.1 200 OK\r\n"], [b"HTTP/2 200\r\n", b"X: 1\r\n"]])
@pytest.mark.parametrize("line", [b"HTTP/1.1 200 %s\r\n", b"X%sY: 1\r\n", b"X: 1%s\r\n", b"  folded%s\r\n", b"%s\r\n"])
def test_a_nul_or_a_lone_cr_is_refused_in_any_line(before: list[bytes], line: bytes, stray: bytes) -> None:
    head = Head()
    assert [head.take(good) for good in before] == [None] * len(before)
    assert head.take(line % stray) == STRAY_BYTE
    assert not head.ended
