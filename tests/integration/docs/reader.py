"""Reads a page from top to bottom and runs each block unchanged."""

import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine

from dispatcher.settings import Settings
from tests.dialects import curl
from tests.factories import deliver_all, redeliver_more, rows
from tests.integration.cli.conftest import run_command
from tests.integration.docs.blocks import Block, blocks_of
from tests.integration.docs.terminal import Listener, Result, Shell

_PAGES_PORT = ":9000"  # where a page's receiver listens. In tests it is another port, because tests run in parallel
# Ids and times differ in each run.
_ANEW = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z")


class Reader:
    """One page, read as far as the test has asked for. Use it as a context manager. After each command the engine
    delivers whatever is due, so no block can depend on being faster. `names` are those of the Python blocks."""

    def __init__(self, page: str, database: Engine, settings: Settings, folder: Path) -> None:
        self._left = iter(blocks_of(page))
        self._database, self._settings, self._folder = database, settings, folder
        self._shell = Shell({"dispatcher": self._dispatcher, "curl": self._curl}, folder)
        self.names: dict[str, Any] = {"__name__": "page"}
        self._printed = ""
        self._refused: list[int] = []
        self._listener: Listener | None = None
        self.port: int | None = None  # of the page's receiver, if the test has started it

    def __enter__(self) -> Self:
        self._shell.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.close()
        self._shell.__exit__()

    def read_to(self, name: str, *, refused: list[int] | None = None) -> str:
        """Runs all blocks up to the one with this name, and returns what that one printed. `refused`: the statuses
        from 400 on that its requests get; no request of an earlier block may get one."""
        for block in self._left:
            self._read(block)
            here = block.name == name
            assert self._refused == (refused or [] if here else []), f"{block.place}: {self._printed}"
            if here:
                return self._printed
        raise AssertionError(f"no block from here on is called {name}")

    def read_to_the_end(self) -> None:
        """Runs all remaining blocks."""
        for block in self._left:
            self._read(block)
            assert self._refused == [], f"{block.place}: {self._printed}"

    def value(self, variable: str) -> str:
        """The value of a shell variable."""
        return self._shell.run(f'printf %s "${variable}"').out

    def callbacks(self, count: int) -> list[str]:
        """The lines that the page's receiver has shown, one for each callback. There must be `count`."""
        assert self._listener is not None, "the page has started no receiver so far"
        return self._listener.lines(count)

    def body(self, count: int) -> str:
        """The body of the newest callback. There must be `count` callbacks."""
        return self.callbacks(count)[-1].rpartition("  ")[2]

    def deliver(self) -> None:
        """Does what workers do, until nothing is due."""
        redeliver_more(self._settings)
        deliver_all(self._settings)

    def _read(self, block: Block) -> None:
        if block.mark == "not run" or block.servers:
            return
        code = block.code
        if self.port is not None:
            code = code.replace(_PAGES_PORT, f":{self.port}")
        self._refused = []
        match block.language:
            case "sh" if code.startswith("./run.sh up"):
                pass  # it is up
            case "sh" if code.startswith("dispatcher listen"):
                assert self._listener is None
                self._listener = Listener(code, self._folder)
                self.port = self._listener.port
            case "sh":
                ran = self._shell.run(code)
                assert ran.status == 0, f"{block.place}: {ran.err}"
                self._printed = ran.out
            case "python":
                with redirect_stdout(io.StringIO()) as printed:
                    exec(compile(code, block.place, "exec"), self.names)
                self._printed = printed.getvalue()
                self.deliver()
            case "sql":
                found = rows(self._database, code.replace(":", "\\:"))
                self._printed = "".join(f"{' | '.join(map(str, row))}\n" for row in found)
            case "json" if block.mark == "received":
                assert self._listener is not None
                assert code.strip() == self._listener.last_body(), block.place
            case "json":
                *_, last = documents(self._printed)
                assert _fits(json.loads(code), last), f"{block.place}: {last}"
            case "html" | "js":
                assert block.name, f"{block.place}: the page's test tries it by its name"
            case language:
                assert language in {"http", "mermaid"}, f"{block.place}: no test can run {language!r}"

    def _dispatcher(self, words: list[str], stdin: bytes) -> Result:
        with self._working():
            ran = run_command(*words, stdin=stdin)
        self.deliver()
        return Result(ran.status, ran.out, ran.err)

    def _curl(self, words: list[str], _: bytes) -> Result:
        status, body = curl.call(words)
        if status >= 400:
            self._refused.append(status)
        self.deliver()
        return Result(0, body)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Continues bulk redeliveries meanwhile, because a command may wait for their end."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(0.2):
                redeliver_more(self._settings)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            ended.set()
            worker.join()


def documents(printed: str) -> list[Any]:
    """All JSON documents that a block printed, one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while rest := printed[at:].lstrip():
        document, length = decoder.raw_decode(rest)
        found.append(document)
        at = len(printed) - len(rest) + length
    return found


def _fits(shown: Any, came: Any) -> bool:
    """Whether a document of the page matches the real one. "..." matches any text, an id or a time any other."""
    match shown, came:
        case "...", str():
            return True
        case str(), str():
            return _ANEW.sub("...", shown) == _ANEW.sub("...", came)
        case dict(), dict():
            return shown.keys() == came.keys() and all(_fits(shown[name], came[name]) for name in shown)
        case list(), list():
            return len(shown) == len(came) and all(map(_fits, shown, came))
        case _:
            return bool(shown == came)
