"""A receiver that sends messages of TLS without end, which OpenSSL takes one after the other in a single read."""

import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.certificates import Authority

TICKET = b"\x04\x00\x00\x0e" + struct.pack(">IIBHsH", 7200, 1, 0, 1, b"t", 0)  # NewSessionTicket, RFC 8446, 4.6.1
RECORD = TICKET * (16_000 // len(TICKET)) + b"\x16"  # many in one record, of the type `handshake`
HEAD = b"\x17\x03\x03" + struct.pack(">H", len(RECORD) + 16)


def derived(secret: bytes, purpose: bytes, length: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446, 7.1."""
    label = b"tls13 " + purpose
    return HKDFExpand(SHA384(), length, struct.pack(">HB", length, len(label)) + label + b"\0").derive(secret)


def send_tickets(connection: ssl.SSLSocket, keys: Path, sent: Counter[int], nth: int) -> None:
    """Writes records of its own below the TLS of Python, which makes tickets much more slowly. Counts them."""
    *_, line = (line for line in keys.read_text().splitlines() if line.startswith("SERVER_TRAFFIC_SECRET_0"))
    secret = bytes.fromhex(line.split()[2])
    cipher, start = AESGCM(derived(secret, b"key", 32)), int.from_bytes(derived(secret, b"iv", 12), "big")
    with socket.socket(fileno=connection.detach()) as plain:
        for number in range(1_000_000):
            plain.sendall(HEAD + cipher.encrypt((start ^ number).to_bytes(12, "big"), RECORD, HEAD))
            sent[nth] += 1


@contextmanager
def ticket_receiver(authority: Authority, folder: Path, connections: int = 1) -> Iterator[tuple[str, Counter[int]]]:
    """Its URL, and how many records each of its connections took."""
    context = authority.server("localhost")
    context.num_tickets = 0
    context.keylog_filename = str(folder / "keys")
    sent: Counter[int] = Counter()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for nth in range(connections):
                with suppress(OSError):  # cut
                    accepted, _ = listening.accept()
                    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # or much waits here
                    connection = context.wrap_socket(accepted, server_side=True)
                    connection.recv(65_536)
                    send_tickets(connection, folder / "keys", sent, nth)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"https://localhost:{listening.getsockname()[1]}/", sent
        serving.join()
