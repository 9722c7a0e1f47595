"""Pure. Reads the head of an answer, line by line: both transports accept and refuse the same heads."""

import re

from dispatcher.transport.exchange import Failure
from dispatcher.transport.failure_texts import HEAD_TOO_LARGE, NO_HEADER, NOT_HTTP, STRAY_BYTE
from dispatcher.transport.port import BLANKS, HEAD_CAP, HEAD_LINES

_STATUS_LINE = re.compile(r"HTTP/(?:1\.(?P<minor>[0-9])|2) +(?P<status>[1-9][0-9]{2})(?: .*)?")


class Head:
    """What one answer's head has said so far.

    `minor` is that of HTTP/1, None for HTTP/2; `status` is 0 before the status line, then 100 to 999. `pairs` are the
    headers in order, folded lines joined. `ended` says that the blank line has come.
    """

    __slots__ = ("_lines", "_size", "ended", "minor", "pairs", "status")

    def __init__(self) -> None:
        self._size = self._lines = 0
        self.minor: int | None = 1
        self.status = 0
        self.pairs: list[tuple[str, str]] = []
        self.ended = False

    def take(self, line: bytes) -> Failure | None:
        """Takes the next line, with its line feed; returns what is wrong with it, if anything.

        A line feed alone ends a line, too. A NUL, or a CR that ends no line, is refused anywhere: programs disagree on
        what they mean, so a header would mean different things to different readers.
        """
        self._size += len(line)
        self._lines += 1
        text = line.decode("latin-1").removesuffix("\n").removesuffix("\r")
        if not text and self.status:
            self.ended = True
        elif self._size > HEAD_CAP or self._lines > HEAD_LINES:
            return HEAD_TOO_LARGE
        elif "\0" in text or "\r" in text:
            return STRAY_BYTE
        elif not self.status:
            match = _STATUS_LINE.fullmatch(text)
            if match is None:
                return NOT_HTTP
            self.minor = int(match["minor"]) if match["minor"] else None
            self.status = int(match["status"])
        else:
            return self._take_header(text)
        return None

    def _take_header(self, text: str) -> Failure | None:
        name, colon, value = text.partition(":")
        if text[0] in BLANKS and self.pairs:  # folded over lines: obsolete, but allowed
            last, so_far = self.pairs[-1]
            self.pairs[-1] = last, f"{so_far} {text.strip(BLANKS)}".strip(BLANKS)
            return None
        name = name.strip(BLANKS)
        if not colon or not name:
            return NO_HEADER
        self.pairs.append((name, value.strip(BLANKS)))
        return None
