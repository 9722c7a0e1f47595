"""The receiver and the client alone, to measure other programs with: `./run.sh bench receive` and `post`."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.http_client import post
from benchmarks.receivers import own_receiver
from benchmarks.servers import MESSAGE_BYTES
from benchmarks.targets import percentile

_LOOK_EVERY = 1.0
_WARM_UP = 1.0


def receive(say: Callable[[str], None]) -> None:
    """Says each second what has come, until it is interrupted."""
    with tempfile.TemporaryDirectory() as folder, own_receiver(Path(folder), MESSAGE_BYTES) as receiver:
        say(f"listening at {receiver.url()}")
        known = 0
        while True:
            time.sleep(_LOOK_EVERY)
            counts = receiver.counts("ok")
            if counts.requests > known:
                seconds = max(counts.last_at - counts.first_at, 1e-6)
                rate = f"{counts.requests:,} in {seconds:.2f} s, {counts.requests / seconds:,.0f} a second"
                say(f"{counts.requests - known:,} requests; from the first to the last {rate}")
            known = counts.requests


def post_steadily(url: str, headers: Sequence[str], body: bytes, *, connections: int, seconds: float) -> str:
    """What the answers of a server on this machine were like. Raises NotAccepted, OSError."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", *headers, f"Content-Length: {len(body)}"]
    request = "\r\n".join([*lines, "", ""]).encode() + body
    answers = post(
        [parts.port or 80],
        lambda: request,
        connections=connections,
        seconds=seconds,
        warm_up=_WARM_UP,
        begun=lambda: None,
    )
    p50, p99 = (percentile(answers.delays, share) * 1000 for share in (0.5, 0.99))
    return (
        f"{answers.count / answers.seconds:,.0f} answers a second, p50 {p50:.1f} ms, p99 {p99:.1f} ms; "
        f"{answers.accepted:,} requests were accepted, those before and after included"
    )
