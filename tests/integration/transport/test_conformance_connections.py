"""Every transport treats connections alike: kept alive, found dead, not to be had, not trusted."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.transport.exchange import Failure, FailureKind, Reply
from dispatcher.transport.failure_texts import KEPT_CLOSED
from tests.behaviours import (
    HANG,
    NO_ANSWER,
    RESET,
    SLOW_BODY,
    Answer,
    Behaviour,
    Do,
    Pause,
    Received,
    Step,
    final,
)
from tests.certificates import Authority, new_authority, self_signed_server
from tests.dead_ports import UnansweringPort, refusing_port
from tests.integration.transport.conftest import NewTransport, Sender, request_to
from tests.receiver import Receiver

# Kept alive


def on_second_use(steps: tuple[Step, ...]) -> Callable[[Received], Behaviour]:
    """200 for the first request on a connection, `steps` for the next."""
    return lambda request: Answer(200) if request.nth == 1 else steps


def test_a_transport_that_shrinks_goes_on_with_its_connections(sender: Sender, receiver: Receiver) -> None:
    for number in range(3):
        assert sender.reply(receiver.url(f"/{number}")).status == 200
        sender.transport.shrink()
    assert receiver.connections == 1


def test_requests_one_after_another_share_a_connection(sender: Sender, receiver: Receiver) -> None:
    for number in range(5):
        assert sender.reply(receiver.url(f"/{number}")).status == 200
    assert receiver.connections == 1


def test_a_request_that_is_to_be_made_anew_uses_nothing_that_is_kept(sender: Sender, receiver: Receiver) -> None:
    url = receiver.url().replace("127.0.0.1", "localhost")
    made = [sender.exchange(url, anew=anew) for anew in (False, False, True, False)]
    assert [one.connected for one in made] == [True, False, True, False]
    assert [one.looked_up for one in made][2]
    assert receiver.connections == 2


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(Answer(200, (("Connection", "close"),), then=(Do.CLOSE,)), id="asked to close"),
        pytest.param((b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Do.CLOSE), id="HTTP 1.0"),
        pytest.param((b"HTTP/1.1 200 OK\r\n\r\nok", Do.CLOSE), id="body until closed"),
    ],
)
def test_a_connection_that_ends_with_its_answer_is_not_used_again(
    sender: Sender, receiver: Receiver, behaviour: Behaviour
) -> None:
    receiver.script("/", behaviour)
    assert sender.reply(receiver.url()).status == 200
    assert sender.reply(receiver.url()).status == 200
    assert [got.connection for got in receiver.received] == [1, 2]


@pytest.mark.parametrize("end", [Do.CLOSE, Do.HALF_CLOSE, Do.RESET])
def test_a_connection_ended_by_the_receiver_while_idle_costs_nothing(
    sender: Sender, receiver: Receiver, end: Do
) -> None:
    for number in range(5):
        assert sender.reply(receiver.url(f"/{number}")).status == 200
        receiver.close_idle(end)
    assert [got.target for got in receiver.received] == ["/0", "/1", "/2", "/3", "/4"]
    assert [got.connection for got in receiver.received] == [1, 2, 3, 4, 5]


def test_many_connections_ended_by_the_receiver_while_idle_cost_nothing(
    new_transport: NewTransport, receiver: Receiver
) -> None:
    transport, gate = new_transport(), receiver.gate()
    receiver.script("/held", (gate, final(200)))
    for _ in range(8):
        transport.send(request_to(receiver.url("/held")))
    while len(receiver.received) < 8:
        transport.wait(0.01)
    gate.open()
    ended = 0
    while ended < 8:
        ended += len(transport.wait(5))
    receiver.close_idle()
    assert Sender(transport).reply(receiver.url("/next")).status == 200
    assert [got.connection for got in receiver.at("/next")] == [9]


@pytest.mark.parametrize("most", [1, 2])
def test_a_receiver_that_closes_its_connections_unannounced_gets_each_request_once(sender: Sender, most: int) -> None:
    """The first time, the next request can be on its way already."""
    with Receiver(requests_per_connection=most) as receiver:
        outcomes = [sender.exchange(receiver.url(), body=b"%d" % number).outcome for number in range(20)]
        lost = [outcome for outcome in outcomes if not isinstance(outcome, Reply)]
        assert lost in ([], [KEPT_CLOSED])
        bodies = [got.body for got in receiver.received]
        assert len(bodies) == len(set(bodies)) == 20 - len(lost)
        assert [got.nth for got in receiver.received][-10:] == [1] * 10


@pytest.mark.parametrize("death", [NO_ANSWER, RESET, (Do.HALF_CLOSE, Do.HANG)], ids=["closed", "reset", "half closed"])
def test_a_request_is_not_sent_again_when_its_kept_alive_connection_ends_without_an_answer(
    sender: Sender, receiver: Receiver, death: tuple[Step, ...]
) -> None:
    receiver.script("/", on_second_use(death))
    assert sender.reply(receiver.url(), body=b"[1]").status == 200
    assert sender.exchange(receiver.url(), body=b"[2]").outcome == KEPT_CLOSED
    assert [(got.connection, got.body) for got in receiver.received] == [(1, b"[1]"), (1, b"[2]")]
    assert receiver.connections == 1
    assert sender.reply(receiver.url(), body=b"[3]").status == 200


def test_a_request_is_not_sent_again_over_another_kept_alive_connection(
    new_transport: NewTransport, receiver: Receiver
) -> None:
    transport, gate = new_transport(), receiver.gate()
    receiver.script("/held", (gate, final(200)))
    for _ in range(3):
        transport.send(request_to(receiver.url("/held")))
    while len(receiver.received) < 3:
        transport.wait(0.01)
    gate.open()
    ended = 0
    while ended < 3:
        ended += len(transport.wait(5))
    receiver.script("/", NO_ANSWER)
    assert Sender(transport).exchange(receiver.url()).outcome == KEPT_CLOSED
    assert len(receiver.at("/")) == 1


@pytest.mark.parametrize(
    ("death", "kind"),
    [
        ((b"HTTP/1.1 200 OK\r\n", Do.CLOSE), FailureKind.BROKEN_ANSWER),
        ((b"HTTP/1.1 200 OK\r\n", Pause(0.1), Do.RESET), FailureKind.CONNECTION_RESET),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", Do.CLOSE), FailureKind.BROKEN_ANSWER),
        (HANG, FailureKind.TIMEOUT),
    ],
    ids=["a line of an answer came", "a line came before the reset", "half an answer came", "it hangs"],
)
def test_a_request_is_not_sent_again_if_it_may_have_been_taken(
    sender: Sender, receiver: Receiver, death: tuple[Step, ...], kind: FailureKind
) -> None:
    receiver.script("/", on_second_use(death))
    assert sender.reply(receiver.url()).status == 200
    assert sender.failure(receiver.url(), timeout=0.5) is kind
    assert [got.connection for got in receiver.received] == [1, 1]


def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_one(sender: Sender, receiver: Receiver) -> None:
    receiver.script("/", (final(200) + final(403, b"unasked"),))
    receiver.script("/next", Answer(201))
    assert sender.reply(receiver.url()).status == 200
    assert sender.reply(receiver.url("/next")).status == 201


# Not to be had


def test_a_port_where_nothing_listens_is_refused(sender: Sender) -> None:
    assert sender.failure(f"http://127.0.0.1:{refusing_port()}/") is FailureKind.CONNECTION_REFUSED


def test_a_name_that_does_not_exist_is_a_dns_failure(sender: Sender) -> None:
    assert sender.failure("http://nonexistent.invalid/") is FailureKind.DNS


def test_a_connection_not_taken_in_time_is_a_connect_timeout(sender: Sender) -> None:
    with UnansweringPort() as dead:
        exchange = sender.exchange(f"http://127.0.0.1:{dead.port}/", connect_timeout=0.3, timeout=10.0)
    assert getattr(exchange.outcome, "kind", None) is FailureKind.CONNECT_TIMEOUT
    assert exchange.duration.total_seconds() < 5


def test_a_receiver_that_does_not_read_is_a_timeout(sender: Sender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        assert sender.failure(url, body=bytes(32 * 1024 * 1024), timeout=0.5) is FailureKind.TIMEOUT


def test_a_host_name_is_looked_up(sender: Sender, receiver: Receiver) -> None:
    assert sender.reply(f"http://localhost:{receiver.port}/").status == 200
    assert receiver.received[0].header("Host") == f"localhost:{receiver.port}"


def test_ipv6_works(sender: Sender) -> None:
    with Receiver(host="::1") as receiver:
        assert sender.reply(receiver.url()).status == 200
        assert receiver.received[0].header("Host") == f"[::1]:{receiver.port}"


def test_proxies_and_passwords_of_the_environment_are_ignored(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login who password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        assert sender.reply(receiver.url()).status == 200
        assert proxy.connections == 0
    assert receiver.received[0].header("Authorization") is None


def test_a_failure_does_not_tell_where_it_was_sent_to(sender: Sender, receiver: Receiver) -> None:
    for path, steps in {"reset": RESET, "hang": HANG, "odd": (b"secret-answer\r\n", Do.CLOSE)}.items():
        receiver.script(f"/{path}/secret-path", steps)
    urls = [receiver.url(f"/{path}/secret-path?key=secret-key") for path in ("reset", "hang", "odd")]
    urls += ["http://secret-host.invalid/", f"http://localhost:{refusing_port()}/secret-path"]
    for url in urls:
        outcome = sender.exchange(url, headers=(("Authorization", "secret-value"),), timeout=0.5).outcome
        assert isinstance(outcome, Failure)
        assert 0 < len(outcome.detail) <= 120
        assert "secret" not in outcome.detail
        assert "http://" not in outcome.detail


# TLS


def test_a_trusted_certificate_is_accepted_and_the_connection_kept(trusting: Sender, authority: Authority) -> None:
    with Receiver(tls=authority.server("localhost")) as receiver:
        url = f"https://localhost:{receiver.port}/"
        receiver.script("/", Answer(200, body=b"a" * 50_000))
        assert [trusting.reply(url, body=b"t" * 200_000).status for _ in range(3)] == [200, 200, 200]
        assert receiver.connections == 1


def test_a_certificate_may_be_for_an_address(trusting: Sender, authority: Authority) -> None:
    with Receiver(tls=authority.server("127.0.0.1")) as receiver:
        assert trusting.reply(receiver.url()).status == 200


@pytest.fixture(params=["expired", "another host", "self-signed", "not trusted"])
def bad_certificate(request: pytest.FixtureRequest, authority: Authority) -> ssl.SSLContext:
    match request.param:
        case "expired":
            return authority.server("127.0.0.1", expired=True)
        case "another host":
            return authority.server("secret-host.example", "127.0.0.2")
        case "self-signed":
            return self_signed_server(authority.folder, "127.0.0.1")
        case _:
            other = authority.folder / "other"
            other.mkdir(exist_ok=True)
            return new_authority(other).server("127.0.0.1")


def test_a_bad_certificate_is_a_tls_failure_and_nothing_is_sent(
    trusting: Sender, bad_certificate: ssl.SSLContext
) -> None:
    with Receiver(tls=bad_certificate) as receiver:
        outcome = trusting.exchange(receiver.url("/secret")).outcome
        assert isinstance(outcome, Failure)
        assert outcome.kind is FailureKind.TLS
        assert "secret" not in outcome.detail
        assert receiver.received == []


def test_an_authority_of_the_tests_is_not_trusted_by_default(sender: Sender, authority: Authority) -> None:
    with Receiver(tls=authority.server("127.0.0.1")) as receiver:
        assert sender.failure(receiver.url()) is FailureKind.TLS


@pytest.mark.parametrize("steps", [(b"HTTP/1.1 400 Bad Request\r\n\r\n", Do.CLOSE), NO_ANSWER])
def test_a_port_without_tls_is_a_tls_failure(trusting: Sender, steps: tuple[Step, ...]) -> None:
    with Receiver(on_connect=steps) as receiver:
        assert trusting.failure(f"https://127.0.0.1:{receiver.port}/") is FailureKind.TLS


def test_a_reset_before_or_in_the_handshake_is_a_failure_and_nothing_is_sent_in_the_clear(trusting: Sender) -> None:
    with Receiver(on_connect=RESET) as receiver:
        kinds = {trusting.failure(f"https://127.0.0.1:{receiver.port}/") for _ in range(50)}
        assert kinds <= {FailureKind.TLS, FailureKind.CONNECTION_RESET}
        assert receiver.received == []


@pytest.mark.parametrize("steps", [NO_ANSWER, RESET], ids=["closed", "reset"])
def test_a_connection_lost_as_soon_as_it_is_made_is_a_reset(sender: Sender, steps: tuple[Step, ...]) -> None:
    with Receiver(on_connect=steps) as receiver:
        assert {sender.failure(receiver.url()) for _ in range(50)} == {FailureKind.CONNECTION_RESET}
        assert receiver.connections == 50


def test_a_handshake_that_does_not_end_is_a_connect_timeout(trusting: Sender) -> None:
    with Receiver(on_connect=HANG) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/"
        assert trusting.failure(url, connect_timeout=0.3, timeout=10.0) is FailureKind.CONNECT_TIMEOUT


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        (SLOW_BODY, FailureKind.TIMEOUT),
        (NO_ANSWER, FailureKind.CONNECTION_RESET),
        (RESET, FailureKind.CONNECTION_RESET),
    ],
    ids=["drip", "closed", "reset"],
)
def test_failures_are_the_same_under_tls(
    trusting: Sender, authority: Authority, steps: tuple[Step, ...], kind: FailureKind
) -> None:
    with Receiver(tls=authority.server("127.0.0.1")) as receiver:
        receiver.script("/", steps)
        assert trusting.failure(receiver.url(), timeout=0.5) is kind


def test_a_request_over_tls_is_not_sent_again_either(trusting: Sender, authority: Authority) -> None:
    with Receiver(tls=authority.server("127.0.0.1")) as receiver:
        receiver.script("/", on_second_use(NO_ANSWER))
        assert trusting.reply(receiver.url()).status == 200
        assert trusting.exchange(receiver.url()).outcome == KEPT_CLOSED
        assert [got.connection for got in receiver.received] == [1, 1]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("end", [Do.CLOSE, Do.CUT, Do.RESET], ids=["only the end of TLS", "only FIN", "RST"])
def test_a_connection_of_tls_ended_by_the_receiver_while_idle_costs_nothing(
    trusting: Sender, authority: Authority, end: Do, version: ssl.TLSVersion
) -> None:
    tls = authority.server("127.0.0.1")
    tls.maximum_version = version
    with Receiver(tls=tls) as receiver:
        for _ in range(3):
            assert trusting.reply(receiver.url()).status == 200
            receiver.close_idle(end)
        assert [got.connection for got in receiver.received] == [1, 2, 3]


def test_an_https_answer_over_http_is_not_followed(trusting: Sender, receiver: Receiver) -> None:
    receiver.script("/", Answer(308, (("Location", f"https://127.0.0.1:{receiver.port}/"),)))
    assert trusting.reply(receiver.url()).status == 308
    assert receiver.connections == 1
