"""Makes calls over HTTP, blocking and from asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

try:
    import httpx
except ModuleNotFoundError as error:
    if error.name != "httpx":  # such as a file http.py of the program, in place of Python's
        raise
    raise ImportError("httpx is not installed: install dispatcher-producer with its extra `client`") from None

from dispatcher.client.calls import Call, answer_of, request_of, seconds_to_wait
from dispatcher.client.errors import NoAnswer
from dispatcher.client.retries import pause
from dispatcher.version import __version__

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

TIMEOUT = 60.0  # longer than the API waits for a URL that it verifies
PATIENCE = 60.0
# The API closes a connection on which nothing comes for 5 s: one that is kept longer could be closed under a request.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4)


class Page(Protocol[T_co]):
    """A part of a list, and the cursor of the next one."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> str | None: ...


class Sender:
    """Calls that block. Threads can share one. Use it as a context manager, or close it."""

    def __init__(self, url: str, key: str, *, timeout: float = TIMEOUT, patience: float = PATIENCE) -> None:
        """`url` is where the API is, with the path in front of `/v1` if it has one. `key` is an API key, or an access
        token. `timeout`: the seconds in which a connection must be made, and in which an answer must go on. `patience`:
        the seconds that a call waits in all, to be made again after a 429, or a 503, with `Retry-After`; 0: it never
        is. Raises ValueError for a URL or a key that cannot be one."""
        self._key, self._patience = _checked(key), patience
        self._http = httpx.Client(**_options(url, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def _call(self, call: Call[T]) -> T:
        patience = self._patience
        while True:
            try:
                answer = self._http.request(**_arguments(call, self._key))
            except httpx.RequestError as error:
                raise _no_answer(error) from error
            wait = _wait(call, answer, patience)
            if wait is None:
                return answer_of(call, answer.status_code, answer.headers, answer.content)
            patience -= wait
            time.sleep(wait)

    def _pages(self, call: Call[Page[T]]) -> Iterator[T]:
        cursor = None
        while True:
            page = self._call(replace(call, query={**call.query, "cursor": cursor}))
            yield from page.items
            if (cursor := page.next) is None:
                return


class AsyncSender:
    """Calls from asyncio. Tasks of one event loop can share one. Use it as an async context manager, or close it."""

    def __init__(self, url: str, key: str, *, timeout: float = TIMEOUT, patience: float = PATIENCE) -> None:
        """The same arguments and errors as `Client`."""
        self._key, self._patience = _checked(key), patience
        self._http = httpx.AsyncClient(**_options(url, timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def _call(self, call: Call[T]) -> T:
        patience = self._patience
        while True:
            try:
                answer = await self._http.request(**_arguments(call, self._key))
            except httpx.RequestError as error:
                raise _no_answer(error) from error
            wait = _wait(call, answer, patience)
            if wait is None:
                return answer_of(call, answer.status_code, answer.headers, answer.content)
            patience -= wait
            await asyncio.sleep(wait)

    async def _pages(self, call: Call[Page[T]]) -> AsyncIterator[T]:
        cursor = None
        while True:
            page = await self._call(replace(call, query={**call.query, "cursor": cursor}))
            for item in page.items:
                yield item
            if (cursor := page.next) is None:
                return


def _checked(key: str) -> str:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the key is empty, or has characters that no key has")
    return key


def _options(url: str, timeout: float) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or "@" in url:
        raise ValueError("the URL must be http or https, with a host, and without user, query and fragment")
    if parts.path.rstrip("/").endswith("/v1"):
        raise ValueError("the URL must be without /v1 at its end: calls bring it along")
    return {
        "base_url": url,
        "timeout": timeout,
        "limits": _LIMITS,
        "headers": {"User-Agent": f"dispatcher-client/{__version__}"},
    }


def _arguments(call: Call[Any], key: str) -> dict[str, Any]:
    request = request_of(call, key)
    return {"method": request.method, "url": request.path, "headers": request.headers, "content": request.content}


def _wait(call: Call[Any], answer: httpx.Response, patience: float) -> float | None:
    if answer.status_code in call.answers:
        return None
    retry_after = seconds_to_wait(answer.headers)
    return pause(answer.status_code, retry_after, repeatable=call.repeatable, patience=patience)


def _no_answer(error: httpx.RequestError) -> NoAnswer:
    said = f": {error}" if str(error) else ""
    return NoAnswer(f"the API did not answer: {type(error).__name__}{said}")
