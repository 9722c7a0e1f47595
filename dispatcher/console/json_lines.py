"""Messages as people read them: indented, each number and text as it was sent. Pure."""

import re
from collections.abc import Iterator

# Strings without backtracking; then punctuation; then numbers and words.
_PARTS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]|[^\s{}\[\],:"]++|"', re.DOTALL)
_DEEPEST = 40  # levels that are indented: the message may have any number of them


def indented(text: str, most: int) -> tuple[str, bool]:
    """JSON with a line for each value, and whether it was cut, at about `most` characters. It is not read as values:
    numbers keep their digits, and members that are there twice stay."""
    written, length = list[str](), 0
    for part in _written(text):
        written.append(part)
        length += len(part)
        if length > most:
            return "".join(written)[:most], True
    return "".join(written), False


def _written(text: str) -> Iterator[str]:
    depth, before = 0, ""
    for found in _PARTS.finditer(text):
        part = found[0]
        if part in {"}", "]"}:
            depth = max(depth - 1, 0)
            if before not in {"{", "["}:
                yield _line(depth)
        elif before in {"{", "[", ","}:
            yield _line(depth)
        yield ": " if part == ":" else part
        if part in {"{", "["}:
            depth += 1
        before = part


def _line(depth: int) -> str:
    return "\n" + "  " * min(depth, _DEEPEST)
