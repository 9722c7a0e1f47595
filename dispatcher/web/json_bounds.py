"""Pure. How many values the JSON of a request may have, judged while it is read: what is refused has cost no more than
what came of it until then. Whether it is valid JSON, others find out."""

import re

# All up to the first string that does not end.
_WHOLE = re.compile(rb'[^"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"]*+)*+', re.DOTALL)
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_END_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BEFORE_VALUES = (b",", b"[", b"{")  # each stands before one value at most, empty lists and objects aside
_BACKSLASH = b"\\"


class ValueCount:
    """Counts the values of a body that comes in pieces. Nothing is counted before there are more bytes than values are
    allowed, and what stands in strings is looked for only in a body that would have too many otherwise: an ordinary one
    costs next to nothing."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._upper: int | None = None  # with what stands in strings
        self._exact: _OutsideStrings | None = None

    def is_over(self, before: bytearray, piece: bytes) -> bool:
        """Takes the next piece; `before` is all that came before it."""
        if self._exact is None:
            if len(before) + len(piece) <= self._most:
                return False
            self._upper = (_count(before) if self._upper is None else self._upper) + _count(piece)
            if self._upper <= self._most:
                return False
            self._exact = _OutsideStrings()
            self._exact.take(bytes(before))
        self._exact.take(piece)
        return self._exact.found > self._most


class _OutsideStrings:
    """Counts what stands before values and not in a string."""

    def __init__(self) -> None:
        self.found = 0
        self._in_string = self._after_backslash = False

    def take(self, piece: bytes) -> None:
        if self._in_string:
            piece = self._after_string(piece)
        whole = _WHOLE.match(piece)
        assert whole is not None
        self.found += _count(_STRING.sub(b"", whole[0]))
        if whole.end() < len(piece):  # a string that does not end in this piece
            self._in_string = True
            self._after_backslash = _ends_with_escape(piece)

    def _after_string(self, piece: bytes) -> bytes:
        """What follows the string in which the piece begins."""
        end = _END_OF_STRING.match(piece, 1 if self._after_backslash else 0)
        if end is None:
            goes_on = self._after_backslash and not piece.strip(_BACKSLASH)  # the same backslashes as before
            self._after_backslash = _ends_with_escape(piece) != goes_on
            return b""
        self._in_string = self._after_backslash = False
        return piece[end.end() :]


def _count(piece: bytes | bytearray) -> int:
    return sum(map(piece.count, _BEFORE_VALUES))


def _ends_with_escape(piece: bytes) -> bool:
    return (len(piece) - len(piece.rstrip(_BACKSLASH))) % 2 == 1
