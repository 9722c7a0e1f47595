"""A connection to a mail server that bounds its answers: smtplib itself reads continuation lines forever."""

import smtplib
import socket
from time import monotonic

ANSWER_CAP = 64 * 1024  # bytes of one answer, all its lines together


class MailConnection(smtplib.SMTP):
    """SMTP where the socket's timeout applies to each whole answer, however many pieces it comes in."""

    def getreply(self) -> tuple[int, bytes]:
        """Like its parent's; an answer that is too long or too late ends the connection: SMTPServerDisconnected."""
        if self.file is None and self.sock is not None:  # TLS begins with a new one: earlier input is dropped
            self.file = _Answers(self.sock)
        if self.file is not None:
            self.file.begin()
        return super().getreply()


class TlsMailConnection(MailConnection, smtplib.SMTP_SSL):
    """The same, with TLS from the start."""


class _Answers:
    """The file that smtplib reads lines from."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._read = b""

    def begin(self) -> None:
        """Starts the limits of the next answer."""
        self._allowed, self._timeout = ANSWER_CAP, self._socket.gettimeout()
        self._ends_at = monotonic() + self._timeout if self._timeout is not None else float("inf")

    def readline(self, size: int) -> bytes:
        """A line, or its first `size` bytes; without a line end if the connection has ended. Raises OSError."""
        while b"\n" not in self._read and len(self._read) < size and (more := self._receive()):
            self._read += more
        end = min(self._read.find(b"\n") + 1 or size, size)
        line, self._read = self._read[:end], self._read[end:]
        self._allowed -= len(line)
        if self._allowed < 0:
            raise OSError("the answer is too long")
        return line

    def close(self) -> None:
        """Does nothing: smtplib closes the socket."""

    def _receive(self) -> bytes:
        left = self._ends_at - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left if self._timeout is not None else None)
        try:
            return self._socket.recv(4096)
        finally:
            self._socket.settimeout(self._timeout)
