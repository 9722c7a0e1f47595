"""What `dispatcher listen` answers: always the same, or what a local program says; to some by chance 503."""

import random
from collections.abc import Iterable
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

from dispatcher.cli.output import print_line
from dispatcher.testing.receiver import Answer, Callback

FAILED, UNREACHED = 503, 502

_SECONDS = 60.0  # the longest that a webhook may wait for an answer
_MAX_ANSWER = 1024 * 1024
# What is about one connection, or is written anew for the other one.
_OF_A_CONNECTION = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Target:
    """The URL that callbacks are handed on to, each in a connection of its own."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for anything but an http or https URL, without repeating it."""
        split = urlsplit(url)
        if split.scheme not in {"http", "https"} or not split.hostname:
            raise ValueError("must be an http:// or https:// URL")
        if split.username is not None:
            raise ValueError("must have no user and password")
        self._url, self._port = split, split.port

    def __str__(self) -> str:
        return self._url.geturl()

    def answer(self, callback: Callback) -> Answer:
        """The program's answer to the same request: its method, headers, body, and query, added to that of the URL.
        Raises OSError or HTTPException if there is none."""
        kind = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        connection = kind(str(self._url.hostname), self._port, timeout=_SECONDS)
        try:
            connection.putrequest(
                callback.method, _target(self._url, callback.target), skip_accept_encoding=True, skip_host=True
            )
            for name, value in (("Host", self._url.netloc), *_kept(callback.headers)):
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(callback.body)))
            connection.endheaders(callback.body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(_MAX_ANSWER), dict(_kept(answer.getheaders())))
        finally:
            connection.close()


class Answers:
    """Decides on each answer. With `target` it is the program's, otherwise `status`; for the part `fail_rate` of all
    callbacks, picked by chance, it is a 503. Each is given `delay` seconds later."""

    def __init__(self, target: Target | None, status: int, *, fail_rate: float = 0.0, delay: float = 0.0) -> None:
        self._target, self._status, self._fail_rate, self._delay = target, status, fail_rate, delay

    def __call__(self, callback: Callback) -> Answer:
        return replace(self._answer(callback), delay=self._delay)

    def _answer(self, callback: Callback) -> Answer:
        if random.random() < self._fail_rate:  # noqa: S311 - nothing secret
            return Answer(FAILED)
        if self._target is None:
            return Answer(self._status)
        try:
            return self._target.answer(callback)
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            print_line(f"No answer of {self._target}: {why}", stderr=True)
            return Answer(UNREACHED)


def _target(url: SplitResult, called: str) -> str:
    query = "&".join(filter(None, (url.query, urlsplit(called).query)))
    return f"{url.path or '/'}{'?' if query else ''}{query}"


def _kept(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in _OF_A_CONNECTION]
