"""Every transport speaks TLS 1.2 or later, or not at all, whatever happens in the handshake and after it."""

import ssl
import warnings
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.transport.exchange import Failure, FailureKind, Reply
from dispatcher.transport.failure_texts import CLOSED_WITHOUT_ANSWER, HTTP2_LOST, TLS_OVER_BUDGET
from tests.behaviours import Do, Drip, Endless, Pause, Step, final
from tests.certificates import Authority, new_authority, self_signed_server
from tests.integration.transport.conftest import NewTransport, Sender
from tests.receiver import Receiver
from tests.ticket_receiver import ticket_receiver
from tests.tls_in_one_piece import answering_in_one_piece
from tests.tls_shaker import TlsShaker

LARGE = bytes(32 * 1024 * 1024)
MODP_2048 = (  # RFC 3526, group 14
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B"
    "302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"
    "49286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D"
    "670C354E4ABC9804F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
    "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF"
)
HANDSHAKE_FAILURE = b"\x15\x03\x03\x00\x02\x02\x28"  # a fatal alert


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # or OpenSSL itself would not serve the old ones
        context.minimum_version = version
        context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_a_receiver_with_old_tls_only_is_a_tls_failure(
    trusting: Sender, authority: Authority, version: ssl.TLSVersion
) -> None:
    with Receiver(tls=only(authority.server("127.0.0.1"), version)) as receiver:
        assert trusting.failure(receiver.url()) is FailureKind.TLS
        assert receiver.received == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_present_versions_of_tls_are_spoken(
    trusting: Sender, authority: Authority, version: ssl.TLSVersion
) -> None:
    with Receiver(tls=only(authority.server("127.0.0.1"), version)) as receiver:
        assert [trusting.reply(receiver.url()).status for _ in range(3)] == [200, 200, 200]
        assert receiver.connections == 1


def test_a_receiver_chooses_no_numbers_to_compute_with(trusting: Sender, authority: Authority, tmp_path: Path) -> None:
    """Handshakes with large ones take seconds of CPU. What a server names by a curve is fine."""
    numbers = tmp_path / "dh.pem"
    written = bytes.fromhex(f"3082010802820101 00{MODP_2048} 020102")
    numbers.write_text(f"-----BEGIN DH PARAMETERS-----\n{b64encode(written).decode()}\n-----END DH PARAMETERS-----\n")
    for cipher, status in (("ECDHE-RSA-AES256-GCM-SHA384", 200), ("DHE-RSA-AES256-GCM-SHA384", None)):
        tls = authority.server("127.0.0.1", with_rsa=True)
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        tls.load_dh_params(numbers)
        tls.set_ciphers(cipher)
        with Receiver(tls=tls) as receiver:
            outcome = trusting.exchange(receiver.url()).outcome
        assert getattr(outcome, "status", None) == status, cipher


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((Pause(0.1), Do.RESET), id="reset"),
        pytest.param((Pause(0.1), Do.CLOSE), id="closed"),
        pytest.param((Do.HALF_CLOSE, Do.HANG), id="half closed"),
        pytest.param((HANDSHAKE_FAILURE, Do.CLOSE), id="an alert"),
        pytest.param((b"\x16\x03\x03\x00\x05hello", Do.HANG), id="a broken message"),
        pytest.param((final(200), Do.HANG), id="an answer in the clear"),
        pytest.param((Endless(b"\x16\x03\x03\x40\x00" + bytes(16_384)),), id="requests for one without end"),
    ],
)
def test_a_handshake_that_breaks_off_is_a_tls_failure(trusting: Sender, steps: tuple[Step, ...]) -> None:
    with Receiver(on_connect=steps) as receiver:
        assert trusting.failure(f"https://127.0.0.1:{receiver.port}/", connect_timeout=1.0) is FailureKind.TLS


def test_a_handshake_in_a_drip_is_a_connect_timeout(trusting: Sender) -> None:
    with Receiver(on_connect=(Drip(b"\x16\x03\x03\x20\x00" + bytes(1000), every=0.02),)) as receiver:
        exchange = trusting.exchange(f"https://127.0.0.1:{receiver.port}/", connect_timeout=0.4, timeout=10.0)
    assert getattr(exchange.outcome, "kind", None) in {FailureKind.CONNECT_TIMEOUT, FailureKind.TLS}
    assert exchange.duration.total_seconds() < 1.5


def test_a_handshake_that_hangs_ends_with_the_deadline_of_the_exchange(trusting: Sender) -> None:
    with Receiver(on_connect=(Do.HANG,)) as receiver:
        exchange = trusting.exchange(f"https://127.0.0.1:{receiver.port}/", connect_timeout=10.0, timeout=0.4)
    assert getattr(exchange.outcome, "kind", None) is FailureKind.CONNECT_TIMEOUT
    assert 0.38 <= exchange.duration.total_seconds() < 1.5


def test_a_receiver_that_wants_a_certificate_of_ours_is_a_failure(trusting: Sender, authority: Authority) -> None:
    context = authority.server("127.0.0.1")
    context.load_verify_locations(authority.bundle)
    context.verify_mode = ssl.CERT_REQUIRED
    with Receiver(tls=context) as receiver:
        assert trusting.failure(receiver.url()) in {FailureKind.TLS, FailureKind.CONNECTION_RESET}
        assert receiver.received == []


def wanting_a_certificate(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = only(authority.server("127.0.0.1"), version)
    context.load_verify_locations(authority.bundle)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


# What is said of a handshake that fails


@pytest.mark.parametrize(
    ("server", "told"),
    [
        pytest.param(lambda known, _: known.server("secret.example"), "certificate is for another host", id="a name"),
        pytest.param(lambda known, _: known.server("127.0.0.2"), "certificate is for another host", id="an address"),
        pytest.param(
            lambda known, _: known.server("127.0.0.1", expired=True), "certificate refused: has expired", id="expired"
        ),
        pytest.param(
            lambda known, _: self_signed_server(known.folder, "127.0.0.1"),
            "certificate refused: self-signed",
            id="self-signed",
        ),
        pytest.param(
            lambda _, unknown: unknown.server("127.0.0.1", whole_chain=True),
            "certificate refused: from an authority that is not trusted",
            id="an unknown authority",
        ),
        pytest.param(
            lambda known, _: known.intermediate().server("127.0.0.1"),
            "certificate refused: incomplete chain, or from an authority that is not trusted",
            id="a missing intermediate",
        ),
        pytest.param(
            lambda _, unknown: unknown.server("127.0.0.1"),
            "certificate refused: incomplete chain, or from an authority that is not trusted",
            id="an unknown authority that is not shown",
        ),
        pytest.param(
            lambda known, _: wanting_a_certificate(known, ssl.TLSVersion.TLSv1_3),
            "TLS: the receiver requires a client certificate",
            id="a client certificate, TLS 1.3",
        ),
        pytest.param(
            lambda known, _: wanting_a_certificate(known, ssl.TLSVersion.TLSv1_2),
            "TLS: the receiver refused: no common cipher, or it requires a client certificate",
            id="a client certificate, TLS 1.2",
        ),
        pytest.param(
            lambda known, _: only(known.server("127.0.0.1"), ssl.TLSVersion.TLSv1_1),
            "TLS: the receiver supports only versions of TLS that are too old",
            id="an old version",
        ),
    ],
)
def test_why_a_handshake_failed_is_reported_truly(
    trusting: Sender,
    authority: Authority,
    tmp_path: Path,
    server: Callable[[Authority, Authority], ssl.SSLContext],
    told: str,
) -> None:
    with TlsShaker(server(authority, new_authority(tmp_path))) as shaker:
        outcome = trusting.exchange(f"https://127.0.0.1:{shaker.port}/").outcome
    assert outcome == Failure(FailureKind.TLS, told)


def test_a_certificate_for_another_host_is_reported_where_a_name_is_called(
    trusting: Sender, authority: Authority
) -> None:
    with TlsShaker(authority.server("127.0.0.1", "secret.example")) as shaker:
        outcome = trusting.exchange(f"https://localhost:{shaker.port}/").outcome
    assert outcome == Failure(FailureKind.TLS, "certificate is for another host")


def test_a_port_with_tls_gives_no_answer_in_the_clear(sender: Sender, authority: Authority) -> None:
    with Receiver(tls=authority.server("127.0.0.1")) as receiver:
        kind = sender.failure(f"http://127.0.0.1:{receiver.port}/", timeout=1.0)
        assert kind in {FailureKind.BROKEN_ANSWER, FailureKind.CONNECTION_RESET}


def test_a_refusal_under_tls_counts_though_the_request_is_not_read(trusting: Sender, authority: Authority) -> None:
    context = authority.server("127.0.0.1")
    with Receiver(tls=context, on_connect=(final(413, b"too large"), Pause(20))) as receiver:
        exchange = trusting.exchange(receiver.url(), body=LARGE, timeout=10.0)
    assert isinstance(exchange.outcome, Reply)
    assert (exchange.outcome.status, exchange.outcome.body) == (413, b"too large")
    assert exchange.duration.total_seconds() < 5


def test_a_large_body_goes_both_ways_under_tls(trusting: Sender, authority: Authority) -> None:
    with Receiver(tls=authority.server("127.0.0.1"), on_connect=(Pause(0.1),)) as receiver:
        receiver.script("/", (final(200, b"b" * 60_000),))
        for _ in range(2):
            assert trusting.reply(receiver.url(), body=LARGE[: 8 * 1024 * 1024]).body == b"b" * 60_000
        assert [len(got.body) for got in receiver.received] == [8 * 1024 * 1024] * 2


def test_an_answer_that_comes_with_the_end_of_the_handshake_is_taken(trusting: Sender, authority: Authority) -> None:
    tls = only(authority.server("127.0.0.1"), ssl.TLSVersion.TLSv1_2)  # whose handshake the receiver ends
    with answering_in_one_piece(tls, final(503), unasked=True) as url:
        assert trusting.reply(url).status == 503


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_answer_without_length_ends_with_tls_though_the_connection_stays_open(
    trusting: Sender, authority: Authority, version: ssl.TLSVersion
) -> None:
    tls = only(authority.server("127.0.0.1"), version)
    with answering_in_one_piece(tls, b"HTTP/1.1 200 OK\r\n\r\nall") as url:
        assert trusting.reply(url).body == b"all"


def test_a_receiver_that_sends_session_tickets_without_end_is_cut_and_others_have_their_turn(
    trusting: Sender, authority: Authority, receiver: Receiver, tmp_path: Path
) -> None:
    with ticket_receiver(authority, tmp_path) as (url, _):
        exchange = trusting.exchange(url, timeout=60.0)
    assert exchange.outcome in {TLS_OVER_BUDGET, CLOSED_WITHOUT_ANSWER, HTTP2_LOST}
    assert trusting.reply(receiver.url()).status == 200


def test_a_receiver_below_the_oldest_version_that_is_allowed_is_a_tls_failure(
    new_transport: NewTransport, authority: Authority
) -> None:
    sender = Sender(new_transport(ca_bundle=authority.bundle, tls_minimum="1.3"))
    with Receiver(tls=only(authority.server("127.0.0.1"), ssl.TLSVersion.TLSv1_2)) as receiver:
        assert sender.failure(receiver.url()) is FailureKind.TLS
        assert receiver.received == []
    with Receiver(tls=only(authority.server("127.0.0.1"), ssl.TLSVersion.TLSv1_3)) as receiver:
        assert sender.reply(receiver.url()).status == 200
