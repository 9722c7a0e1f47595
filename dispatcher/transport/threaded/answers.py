"""Reads an answer from a connection, more strictly than `http.client` does and within our own limits."""

import re
import socket
from http.client import HTTPMessage, HTTPResponse
from typing import cast

from dispatcher.transport.exchange import Failure
from dispatcher.transport.failure_texts import (
    BAD_LENGTH,
    BODY_NOT_ENDED,
    CLOSED_WITHOUT_ANSWER,
    HEAD_NOT_ENDED,
    INTERIM_ONLY,
    NOT_HTTP,
    OVER_BUDGET,
)
from dispatcher.transport.heads import Head
from dispatcher.transport.port import ANSWER_PIECES, BLANKS, BODY_CAP, HEAD_CAP, INTERIM_ANSWERS
from dispatcher.transport.threaded.connections import Connection
from dispatcher.transport.threaded.faults import NoAnswer

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_REFUSAL = re.compile(rb"^HTTP/1\.[0-9] +(?:101|[3-9][0-9]{2})", re.MULTILINE)


def is_refusal(begun: bytes) -> bool:
    """Whether what has come of an answer makes it pointless to send the rest of the request: a final status other
    than 2xx, or more than any head may have. After a 2xx the receiver may still want the rest."""
    return len(begun) > HEAD_CAP or _REFUSAL.search(begun) is not None


class Answer(HTTPResponse):
    """One answer. It differs from its parent where that would be wrong for us:

    every 1xx but 101 is skipped (102 and 103 too); HTTP/0.9, a status outside 101 and 200-999, an invalid header line,
    a bad Content-Length and a bad chunk size are broken answers; head, number of interim answers and body are limited.
    Faults are raised as NoAnswer; TimeoutError and ConnectionError of the connection are passed on.
    """

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection = connection
        self._bodiless = method == "HEAD"
        self.pairs: tuple[tuple[str, str], ...] = ()
        self.transfer_coded = self.cut_short = False
        self._pieces = 0
        # The parent needs nothing from a socket but a file to read from.
        super().__init__(cast(socket.socket, _Readable(connection)), method=method)

    def begin(self) -> None:
        """Reads up to the body of the final answer."""
        for earlier in range(INTERIM_ANSWERS + 1):
            head = self._read_head(first=earlier == 0)
            if head.status >= 200 or head.status == 101:
                break
        else:
            raise NoAnswer(INTERIM_ONLY)
        self.version = 11 if head.minor else 10
        self.code, self.status, self.pairs = head.status, head.status, tuple(head.pairs)
        self.headers = self.msg = HTTPMessage()
        self._find_frame()

    def read_body(self) -> bytes:
        """The body as it is received, with only the chunks decoded; at most one byte more than the cap, or `cut_short`
        if it comes in too many chunks."""
        if self.chunked:
            return self._read_chunks()
        body = self.read(BODY_CAP + 1)
        if self.length and len(body) <= BODY_CAP:
            raise NoAnswer(BODY_NOT_ENDED)
        return body

    @property
    def leaves_connection_usable(self) -> bool:
        """Whether the answer was read to its end and the connection stays open after it."""
        return not self.will_close and self.isclosed()

    def _read_head(self, *, first: bool) -> Head:
        head, left = Head(), HEAD_CAP
        while not head.ended:
            line = self._connection.readline(left + len(b"\r\n"))
            left -= len(line)
            self._count_piece()
            if not self._connection.received:
                raise NoAnswer(CLOSED_WITHOUT_ANSWER)
            if not line.endswith(b"\n") and left >= 0:
                raise NoAnswer(HEAD_NOT_ENDED if head.status or not first else _cut_off(line))
            fault = head.take(line) or (NOT_HTTP if head.minor is None else None)
            if fault is not None:
                raise NoAnswer(fault)
        return head

    def _find_frame(self) -> None:
        """Finds how the body ends (RFC 9112, 6.3), and whether the connection ends with it."""
        codings = [part.lower() for part in self._values("transfer-encoding") if part]
        lengths = set(self._values("content-length"))
        options = [part.lower() for part in self._values("connection")]
        self.chunked, self.chunk_left = codings[-1:] == ["chunked"], None
        self.transfer_coded = bool(codings) and codings != ["chunked"]
        self.length = None
        self.will_close = "close" in options or (self.version == 10 and "keep-alive" not in options)
        if self.status == 101:
            self.will_close = True
        if self._bodiless or self.status in {101, 204, 304}:
            self.chunked, self.length = False, 0
        elif codings:
            # A length beside a coding is used to smuggle requests: what follows on this connection is not trusted.
            self.will_close = self.will_close or not self.chunked or bool(lengths)
        elif lengths:
            length = lengths.pop()
            if lengths or not length.isdecimal() or len(length) > 15:
                raise NoAnswer(BAD_LENGTH)
            self.length = int(length)
        else:
            self.will_close = True

    def _values(self, wanted: str) -> list[str]:
        return [part.strip(BLANKS) for name, value in self.pairs if name.lower() == wanted for part in value.split(",")]

    def _read_chunks(self) -> bytes:
        # The parent accepts a size of "-1" (and then reads without limit), anything where a chunk must end, and the end
        # of the stream as the end of the body.
        body = bytearray()
        while size := self._read_chunk_size():
            body += self._connection.read(min(size, BODY_CAP + 1 - len(body)))
            self._pieces += 1
            self.cut_short = self._pieces > ANSWER_PIECES
            if len(body) > BODY_CAP or self.cut_short:
                return bytes(body)
            if self._connection.readline(2) not in {b"\r\n", b"\n"}:
                raise NoAnswer(BODY_NOT_ENDED)
        while (line := self._connection.readline(HEAD_CAP)) not in {b"\r\n", b"\n"}:  # trailers
            if not line.endswith(b"\n"):
                raise NoAnswer(BODY_NOT_ENDED)
            self._count_piece()
        self.close()
        return bytes(body)

    def _count_piece(self) -> None:
        self._pieces += 1
        if self._pieces > ANSWER_PIECES:
            raise NoAnswer(OVER_BUDGET)

    def _read_chunk_size(self) -> int:
        line = self._connection.readline(1024)
        while b";" in line and not line.endswith(b"\n") and (more := self._connection.readline(1024)):
            line = line[:1024] + more[-2:]  # of an extension, whatever its length, only the end of the line matters
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise NoAnswer(BODY_NOT_ENDED)
        return int(match[1], 16)


def _cut_off(status_line: bytes) -> Failure:
    """What the beginning of a first line means: of an answer there is none yet, as libcurl sees it."""
    return CLOSED_WITHOUT_ANSWER if b"HTTP/".startswith(status_line[:5]) else NOT_HTTP


class _Readable:
    """Stands in for a socket: its file is the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def makefile(self, _mode: str) -> Connection:
        return self._connection
