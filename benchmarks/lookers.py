"""People who have the console's overview open, each with a browser that asks for what is live in it again and again: a
program of its own. It reads their cookies from its input, says `ready` when all of them have the page, looks until its
input ends, and prints how often they looked."""

import json
import random
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from threading import Event

from dispatcher.embedded.servers.ports import LOOPBACK

PATH = "/console/overview"
_LIVE = re.compile(r'<div id="(\w+)" hx-get="([^"]+)"[^>]*data-every="(\d+)"')


class NoOverview(Exception):
    """What was answered is no overview that is live."""


class Looker:
    """One of them, who has opened the page."""

    def __init__(self, port: int, cookie: str) -> None:
        self._connection, self._headers = HTTPConnection(LOOPBACK, port, timeout=60), {"Cookie": cookie}
        if (found := _LIVE.search(self._asked(PATH))) is None:
            raise NoOverview("nothing in it is live")
        part, self._path, every = found.groups()
        self.every = float(every)
        self._headers |= {"HX-Request": "true", "HX-Target": f"div#{part}", "Accept-Encoding": "gzip, deflate"}

    def look(self, ended: Event) -> int:
        """Asks for the live part as often as the page says. Returns how often."""
        looks = 0
        ended.wait(random.uniform(0, self.every))  # noqa: S311 - people do not come at the same moment
        while not ended.is_set():
            self._asked(self._path)
            looks += 1
            ended.wait(self.every)
        self._connection.close()
        return looks

    def _asked(self, path: str) -> str:
        try:
            answer = self._answer(path)
        except ConnectionError:  # kept for as long as there was nothing to ask: closed just now
            self._connection.close()
            answer = self._answer(path)
        content = answer.read()
        if answer.status != 200:
            raise NoOverview(f"{path} was answered with {answer.status}")
        return content.decode("latin-1")

    def _answer(self, path: str) -> HTTPResponse:
        self._connection.request("GET", path, headers=self._headers)
        return self._connection.getresponse()


def main(port: int, cookies: list[str]) -> None:
    ended = Event()
    with ThreadPoolExecutor(len(cookies)) as pool:
        people = list(pool.map(partial(Looker, port), cookies))
        print("ready", flush=True)  # noqa: T201
        looking = [pool.submit(one.look, ended) for one in people]
        sys.stdin.read()
        ended.set()
        print(sum(one.result() for one in looking))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.stdin.readline()))
