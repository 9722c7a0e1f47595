"""How a read that goes on and on is ended, and the next ones much sooner."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dispatcher.transport.curl.transport import CurlTransport
from tests.allowed import LOOPBACK
from tests.certificates import Authority
from tests.integration.transport.conftest import Sender
from tests.receiver import Receiver
from tests.ticket_receiver import ticket_receiver


@pytest.fixture
def transport(authority: Authority) -> Iterator[CurlTransport]:
    made = CurlTransport(addresses=LOOPBACK, ca_bundle=authority.bundle)
    yield made
    made.close()


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
