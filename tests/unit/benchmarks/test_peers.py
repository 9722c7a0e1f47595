"""Receiver and client alone, against each other."""

import re

import pytest
from typer.testing import CliRunner

from benchmarks import peers
from benchmarks.__main__ import app


def test_the_receiver_shows_what_the_client_says_that_it_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_LOOK_EVERY", 0.02)
    monkeypatch.setattr(peers, "_WARM_UP", 0.02)
    said: list[str] = []
    answers: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("listening at "):
            url = line.removeprefix("listening at ")
            headers = ["Content-Type: application/json"]
            answers.append(peers.post_steadily(url, headers, b"{}", connections=2, seconds=0.05))
        else:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        peers.receive(say)
    (accepted,) = re.findall(r"; ([\d,]+) requests were accepted", answers[0])
    assert re.findall(r"^([\d,]+) requests; from the first to the last ([\d,]+) in", said[1]) == [(accepted, accepted)]
    assert int(accepted.replace(",", "")) > 10


def test_a_server_that_is_not_there_is_named_in_words() -> None:
    result = CliRunner().invoke(app, ["post", "http://127.0.0.1:1/ok", __file__, "--seconds", "0.1"])
    assert result.exit_code == 2
    assert "Connection refused" in result.output
