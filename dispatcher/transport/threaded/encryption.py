"""TLS between what a connection carries and what it says. It reads nothing from the connection itself: OpenSSL takes
one message after the other for as long as it finds some, session tickets say, and gives nothing back meanwhile."""

import socket
from contextlib import suppress
from ssl import MemoryBIO, SSLContext, SSLError, SSLWantReadError
from time import monotonic

from dispatcher.transport.port import ANSWER_CAP

_READ_SIZE = 16 * 1024


class Encryption:
    """The TLS of one connection to `host`. `ended`: the receiver has said that it sends no more."""

    __slots__ = ("_incoming", "_outgoing", "_tls", "ended")

    def __init__(self, context: SSLContext, host: str) -> None:
        self._incoming, self._outgoing = MemoryBIO(), MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.ended = False

    def shake_hands(self, connected: socket.socket, until: float) -> None:
        """The handshake, within as many bytes as an answer may have. Raises TimeoutError at `until` (monotonic),
        ConnectionError if it is broken off, or what the system or OpenSSL says."""
        came = 0
        while True:
            is_agreed = self._agree(connected)
            _limit(connected, until)
            connected.sendall(self._outgoing.read())
            if is_agreed:
                return
            raw = connected.recv(_READ_SIZE)
            came += len(raw)
            if not raw or came > ANSWER_CAP:
                raise ConnectionError
            self._incoming.write(raw)

    def encrypted(self, data: bytes | memoryview) -> bytes:
        """What has to be sent to say `data`, after what has to be sent anyway: an answer to a message of TLS."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        return self._outgoing.read()

    def decrypted(self, raw: bytes) -> bytes:
        """What `raw` says, after what came before it; it may say nothing."""
        self._incoming.write(raw)
        data = bytearray()
        with suppress(SSLWantReadError):
            while not self.ended and (self._incoming.pending or self._tls.pending()):
                some = self._tls.read(_READ_SIZE)
                self.ended = not some
                data += some
        return bytes(data)

    def _agree(self, connected: socket.socket) -> bool:
        """Goes on with the handshake as far as that can be done with what has come, and returns whether it is over."""
        try:
            self._tls.do_handshake()
        except SSLWantReadError:
            return False
        except SSLError:
            with suppress(OSError):
                connected.sendall(self._outgoing.read())  # an alert: why it failed
            raise
        return True


def _limit(connected: socket.socket, until: float) -> None:
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    connected.settimeout(left)
