"""Pure. How many values the JSON of a request may have, judged while it is read: what is refused has cost no more than
what came of it until then. Whether it is valid JSON, others find out."""

_BEFORE_VALUES = (b",", b"[", b"{")  # each stands before one value at most, empty lists and objects aside
_BACKSLASH, _QUOTE = b"\\", b'"'


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
        if not piece:
            return
        if self._after_backslash:
            piece = piece[1:]
        self._after_backslash = _ends_with_escape(piece)
        if _BACKSLASH in piece:  # outside of a string, parsing ends there
            piece = piece.replace(_BACKSLASH * 2, b"").replace(_BACKSLASH + _QUOTE, b"")
        parts = piece.split(_QUOTE)  # of very many strings, a regular expression costs four times as much
        self.found += _count(b"".join(parts[self._in_string :: 2]))
        self._in_string ^= len(parts) % 2 == 0


def _count(piece: bytes | bytearray) -> int:
    return sum(map(piece.count, _BEFORE_VALUES))


def _ends_with_escape(piece: bytes) -> bool:
    return (len(piece) - len(piece.rstrip(_BACKSLASH))) % 2 == 1
