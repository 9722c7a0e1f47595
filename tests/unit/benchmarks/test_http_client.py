"""The client that keeps many connections busy, against the benchmark's own receiver."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.http_client import NotAccepted, connect, exchange, post
from benchmarks.receivers import Receiver, own_receiver


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[Receiver]:
    with own_receiver(tmp_path, 600, listeners=2) as running:
        yield running


def ports(receivers: Receiver) -> list[int]:
    return [urlsplit(url).port or 0 for url in receivers.urls()]


def requests(path: str) -> Callable[[], bytes]:
    return f"POST /{path} HTTP/1.1\r\ncontent-length: 0\r\n\r\n".encode


def test_every_answer_is_accepted_but_only_those_between_beginning_and_end_are_counted(receivers: Receiver) -> None:
    seen: list[int] = []
    answers = post(
        ports(receivers),
        requests("ok"),
        connections=6,
        seconds=0.1,
        warm_up=0.1,
        begun=lambda: seen.append(receivers.requests()),
        ended=lambda: seen.append(receivers.requests()),
    )
    assert answers.accepted == receivers.requests()
    assert len(answers.delays) == answers.count
    before, until_end = seen
    assert 0 < before < until_end <= answers.accepted
    assert abs(answers.count - (until_end - before)) <= 6  # those in flight at both moments
    assert answers.seconds >= 0.1
    assert receivers.opened() == (6, 0)


def test_the_connections_are_divided_among_the_ports(receivers: Receiver, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with own_receiver(other, 600) as alone:
        both = [ports(receivers)[0], ports(alone)[0]]
        post(both, requests("ok"), connections=5, seconds=0.01, warm_up=0, begun=lambda: None)
        assert (receivers.opened()[0], alone.opened()[0]) == (3, 2)


def test_an_answer_that_is_not_2xx_ends_it(receivers: Receiver) -> None:
    with pytest.raises(NotAccepted, match="503"):
        post(ports(receivers), requests("switch"), connections=1, seconds=1, warm_up=0, begun=lambda: None)
    with connect(ports(receivers)[0]) as connection, pytest.raises(NotAccepted, match="503"):
        exchange(connection, requests("switch")())
