"""A hostile receiver in its own process: its answers never end.

Run as `flooder.py KIND PEM`: it prints its port. It imports nothing of ours.
"""

import contextlib
import socket
import ssl
import sys
import threading

_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


_STATUS_200 = _frame(1, 4, 1, b"\x88")
# What comes first, and then again and again.
HTTP1 = {
    "chunk-extension": (_CHUNKED + b"1;", b"e" * 65_536),
    "trailers": (_CHUNKED + b"0\r\n", b"a:b\r\n" * 13_000),
    "interim": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 2_500),
    "drip": (b"HTTP/1.1 200 OK\r\nX: ", b"d"),
}
HTTP2 = {
    "window-updates": (b"", _frame(8, 0, 0, b"\0\0\0\1") * 5_000),
    "pings": (b"", _frame(6, 0, 0, bytes(8)) * 3_500),
    "padding": (_STATUS_200, _frame(0, 8, 1, b"\xff" + bytes(255)) * 250),
    "empty-data": (_STATUS_200, _frame(0, 0, 1) * 7_000),
    "continuation": (_frame(1, 0, 1, b"\x88"), _frame(9, 0, 1) * 7_000),
}
KINDS = (*HTTP1, *HTTP2)


def _flood(connection: socket.socket, kind: str, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError), connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            connection = tls.wrap_socket(connection, server_side=True)
            connection.sendall(_frame(4))
        first, more = {**HTTP1, **HTTP2}[kind]
        while connection.recv(65_536).find(b"bench-end") < 0:
            pass
        connection.sendall(first)
        while True:
            connection.sendall(more)


def serve(kind: str, pem: str) -> None:
    tls = None
    if kind in HTTP2:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)
        tls.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)  # noqa: T201
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_flood, args=(connection, kind, tls), daemon=True).start()


if __name__ == "__main__":
    serve(*sys.argv[1:])
