"""The server's own log of requests holds no query: sessions, passwords and URLs stand in some."""

import re
import subprocess
import sys

import requests


def test_a_request_is_logged_without_its_query(environment: dict[str, str]) -> None:
    words = [sys.executable, "-P", "-m", "uvicorn", "dispatcher.api.app:app", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            origin = next(found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
            answer = requests.get(f"{origin}/nothing-here?password=s3cret", timeout=30)
            assert requests.get(f"{origin}/healthz", timeout=30).status_code == 200
        finally:
            server.terminate()
        printed, logged = server.communicate(timeout=30)
    assert answer.status_code == 404
    assert '"GET /nothing-here HTTP/1.1" 404' in printed
    assert '"GET /healthz HTTP/1.1" 200' in printed
    assert "s3cret" not in printed + logged
