"""What `dispatcher listen` answers: a program's answer with `--forward`, a 503 by chance, late."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Barrier, Thread

import pytest

from dispatcher.cli.answering import FAILED, UNREACHED, Answers, Target
from dispatcher.testing.receiver import Answer, Callback, CallbackServer
from tests.behaviours import Answer as Scripted
from tests.receiver import Receiver

CALLBACK = Callback(
    "POST", "/hook", (("Host", "engine"), ("webhook-signature", "v1,a"), ("Expect", "100-continue")), b"[ 1]"
)


def test_a_program_gets_the_request_as_it_came_and_its_answer_is_the_receivers(receiver: Receiver) -> None:
    receiver.script("/own", Scripted(429, (("Retry-After", "7"), ("X-Own", "yes")), b"later"))
    answer = Answers(Target(receiver.url("/own?a=1")), 204)(CALLBACK)
    (got,) = receiver.received
    assert (got.method, got.target, got.body) == ("POST", "/own?a=1", b"[ 1]")
    assert (got.header("webhook-signature"), got.header("Host")) == ("v1,a", receiver.origin.removeprefix("http://"))
    assert got.header("Expect") is None
    assert (answer.status, answer.body, answer.headers["Retry-After"], answer.headers["X-Own"]) == (
        429,
        b"later",
        "7",
        "yes",
    )


def test_the_query_of_a_callback_that_has_no_body_is_handed_on(receiver: Receiver) -> None:
    Answers(Target(receiver.url("/own?a=1")), 204)(Callback("GET", "/?id=7&body=Yes%21", (), b""))
    Answers(Target(receiver.origin), 204)(Callback("GET", "/?id=8", (), b""))
    assert [(got.method, got.target) for got in receiver.received] == [
        ("GET", "/own?a=1&id=7&body=Yes%21"),
        ("GET", "/?id=8"),
    ]


@contextmanager
def ended() -> Iterator[str]:
    """The address of a program that is not there."""
    with Receiver() as gone:
        origin = gone.origin
    yield origin


def test_a_program_that_gives_no_answer_is_a_502_and_why_is_said(
    receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.script("/", (b"no HTTP\r\n\r\n",))
    with ended() as gone:
        for url in (gone, receiver.url("/")):
            assert Answers(Target(url), 204)(CALLBACK) == Answer(UNREACHED)
    said = capsys.readouterr().err
    assert f"No answer of {gone}: Connection refused" in said
    assert f"No answer of {receiver.url('/')}: " in said


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://a/", "http://", "http://a:b@c/", "http://a:99999/"])
def test_what_is_no_url_of_a_program_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|out of range"):
        Target(url)


def test_the_part_that_fails_is_picked_by_chance_and_reaches_no_program(receiver: Receiver) -> None:
    target = Target(receiver.origin)
    assert Answers(target, 204, fail_rate=1.0, delay=2.0)(CALLBACK) == Answer(FAILED, delay=2.0)
    assert receiver.received == []
    mixed = Answers(None, 299, fail_rate=0.5)
    statuses = [mixed(CALLBACK).status for _ in range(200)]
    assert set(statuses) == {FAILED, 299}
    assert 50 < statuses.count(FAILED) < 150  # with a fair coin, beyond it once in 10^12 runs


def test_an_answer_that_is_late_keeps_no_other_callback_waiting() -> None:
    both = Barrier(2, timeout=10)

    def answering(callback: Callback) -> Answer:
        both.wait()
        return Answer(delay=0.001)

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        connection.request("POST", "/", b"[]")
        statuses.append(connection.getresponse().status)
        connection.close()

    statuses: list[int] = []
    with CallbackServer(0, answering) as server:
        callers = [Thread(target=call) for _ in range(2)]
        for caller in callers:
            caller.start()
        for _ in callers:
            server.handle_request()
        for caller in callers:
            caller.join()
    assert statuses == [204, 204]
