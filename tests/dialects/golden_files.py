"""Golden files: a request and its exact answer, with `$names` for values that differ from run to run."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import requests

_BETWEEN = "\n=====\n"


@dataclass(frozen=True, slots=True)
class Message:
    """A first line, headers, and a body."""

    start: str
    headers: dict[str, str]
    body: str


def ask(file: Path, origin: str, values: Mapping[str, str]) -> requests.Response:
    """Sends the file's request, byte for byte."""
    wanted = _message(file.read_text().partition(_BETWEEN)[0], values)
    method, _, path = wanted.start.partition(" ")
    with requests.Session() as client:
        client.trust_env = False
        request = requests.Request(method, origin + path, wanted.headers, data=wanted.body.encode() or None)
        return client.send(request.prepare(), timeout=30, allow_redirects=False)


def check(file: Path, answer: requests.Response, values: Callable[[], Mapping[str, str]]) -> None:
    """The answer is as in the file: its status, the headers that the file has, and the body with its members in order.
    `values` is called after the answer."""
    wanted = _message(file.read_text().partition(_BETWEEN)[2], values())
    assert answer.status_code == int(wanted.start), (file.name, answer.text)
    assert {name: answer.headers.get(name) for name in wanted.headers} == wanted.headers, file.name
    assert _ordered(answer.text) == _ordered(wanted.body), file.name


def _message(text: str, values: Mapping[str, str]) -> Message:
    head, _, body = Template(text).substitute(values).partition("\n\n")
    start, *lines = head.strip().splitlines()
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Message(start, headers, body.strip())


def _ordered(text: str) -> Any:
    return json.loads(text, object_pairs_hook=tuple) if text else None
