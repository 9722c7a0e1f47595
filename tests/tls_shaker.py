"""A server on loopback for handshakes that fail: its last bytes arrive, as from a server that closes properly."""

import socket
import ssl
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class TlsShaker:
    """Does a TLS handshake with each client, one after another, and ends the connection. After a failed handshake it
    sends the alert and reads everything before it closes the socket, because a reset would discard the alert."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                connection.settimeout(5)
                with self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as wrapped:
                    with suppress(OSError):
                        wrapped.do_handshake()
                    with suppress(OSError), socket.socket(fileno=wrapped.detach()) as plain:
                        plain.shutdown(socket.SHUT_WR)
                        while plain.recv(65536):
                            pass
