"""A receiver that sends messages of TLS without end, which OpenSSL takes one after the other in a single read."""

import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from dispatcher.transport.curl.transport import CurlTransport
from tests.allowed import LOOPBACK
from tests.certificates import Authority
from tests.integration.transport.conftest import Sender
from tests.receiver import Receiver

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

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"https://localhost:{listening.getsockname()[1]}/", sent
        serving.join()


@pytest.fixture
def transport(authority: Authority) -> Iterator[CurlTransport]:
    made = CurlTransport(addresses=LOOPBACK, ca_bundle=authority.bundle)
    yield made
    made.close()


def test_a_receiver_that_sends_session_tickets_without_end_is_cut_and_others_have_their_turn(
    transport: CurlTransport, authority: Authority, receiver: Receiver, tmp_path: Path
) -> None:
    sender = Sender(transport)
    with ticket_receiver(authority, tmp_path) as (url, _):
        assert sender.failure(url, timeout=60.0) in {"connection_reset", "broken_answer"}
    assert sender.reply(receiver.url()).status == 200


def test_where_one_did_that_the_next_is_cut_much_sooner(
    transport: CurlTransport, authority: Authority, receiver: Receiver, tmp_path: Path
) -> None:
    sender = Sender(transport)
    with ticket_receiver(authority, tmp_path, connections=4) as (url, sent):
        for _ in range(4):
            assert sender.failure(url, timeout=60.0) in {"connection_reset", "broken_answer"}
    first, *later = (sent[nth] for nth in range(4))
    assert sorted(later)[1] < first / 4
    assert sender.reply(receiver.url()).status == 200


@pytest.mark.parametrize("refusal", [RuntimeError("can't start new thread"), MemoryError()])
def test_without_memory_for_one_more_thread_requests_are_sent_and_the_next_one_tries_it_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise refusal

    others = set(threading.enumerate())

    def looks() -> bool:
        return any(thread.name == "long reads" for thread in set(threading.enumerate()) - others)

    transport = CurlTransport(addresses=LOOPBACK)
    try:
        sender = Sender(transport)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            assert sender.reply(receiver.url()).status == 200
        assert not looks()
        assert sender.reply(receiver.url()).status == 200
        assert looks()
    finally:
        transport.close()
    assert not looks()


def test_the_looks_end_with_the_thread_that_owns_the_transport_and_begin_again_with_the_next(
    receiver: Receiver,
) -> None:
    def looking() -> list[threading.Thread]:
        return [thread for thread in set(threading.enumerate()) - others if thread.name == "long reads"]

    def send() -> None:
        assert Sender(transport).reply(receiver.url()).status == 200

    others = set(threading.enumerate())
    transport = CurlTransport(addresses=LOOPBACK)
    try:
        with ThreadPoolExecutor(1) as owner:
            owner.submit(send).result()
            (first,) = looking()
        first.join(10)
        assert not first.is_alive()
        send()
        assert len(looking()) == 1
    finally:
        transport.close()
