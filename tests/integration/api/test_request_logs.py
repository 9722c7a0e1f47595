"""What the API's process logs of requests: one line each, under the id of the answer, without query or secret."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.dead_ports import refusing_port
from tests.integration.api.conftest import MakeKey

ROOT = Path(__file__).parents[3]
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@dataclass(frozen=True, slots=True)
class Process:
    """The API as it is run in earnest."""

    origin: str
    process: "subprocess.Popen[str]"

    def lines(self) -> list[dict[str, object]]:
        """Ends it; what it wrote since it was ready."""
        self.process.terminate()
        written, _ = self.process.communicate(timeout=30)
        return [json.loads(line) for line in written.splitlines()]


@pytest.fixture
def process(environment: dict[str, str], database: object) -> Iterator[Process]:
    variables = {**os.environ, **environment, "BROKER_URL": f"redis://127.0.0.1:{refusing_port()}/0"}
    command = [sys.executable, "-P", "-m", "dispatcher.web", "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            assert running.stdout is not None
            said = ""
            for line in running.stdout:
                said += line
                if found := _ADDRESS.search(line):
                    yield Process(found[0], running)
                    break
            else:
                raise AssertionError(said)
        finally:
            running.kill()


def test_all_lines_of_a_request_have_its_id_and_one_says_how_it_ended(process: Process, make_key: MakeKey) -> None:
    token = make_key()
    headers = {"Authorization": f"Bearer {token}"}
    event = {"type": "a", "data": "planted"}
    taken = requests.post(f"{process.origin}/v1/events", json=event, headers=headers, timeout=30)
    for query in ("subject=planted", "key=planted"):  # one that is known, one that is refused
        requests.get(f"{process.origin}/v1/events?{query}", headers=headers, timeout=30)
    absent = requests.get(f"{process.origin}/planned%0Aélan/{'x' * 300}?url=planted", timeout=30)
    lines = process.lines()
    of_the_first = [line for line in lines if line.get("request_id") == taken.headers["X-Request-Id"]]
    # The broker is away: of that the request's line is not the only one that tells.
    assert {line["logger"] for line in of_the_first} == {
        "dispatcher.api.rate_limits",
        "dispatcher.api.quotas",
        "dispatcher.api.access",
    }
    (line,) = [line for line in of_the_first if line["logger"] == "dispatcher.api.access"]
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "POST", "/v1/events", 202)
    assert line["key"] is not None
    assert str(line["key"]).replace("-", "") == token.partition(".")[0]
    assert isinstance(line["ms"], float)
    (other,) = [line for line in lines if line.get("request_id") == absent.headers["X-Request-Id"]]
    assert (other["status"], other["key"]) == (404, None)
    assert str(other["path"]).startswith("/planned%0A%C3%A9lan/xxx")
    assert len(str(other["path"])) == 200
    assert "planted" not in json.dumps(lines)
    assert token not in json.dumps(lines)
    assert {line["logger"] for line in lines} <= {
        "dispatcher.api.access",
        "dispatcher.api.rate_limits",
        "dispatcher.api.quotas",
        "uvicorn.error",
    }
