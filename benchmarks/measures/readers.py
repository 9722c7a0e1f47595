"""What 16 readers of an account with 20,000 webhooks cost the events of another."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.http_client import post
from benchmarks.measures.http import events, serving
from benchmarks.targets import Sample, percentile
from benchmarks.workload import BY
from dispatcher.accounts.accounts import create_account
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.encryption.vault import Place
from dispatcher.ids import new_id

READERS, WEBHOOKS = 16, 20_000
_WRITERS, _SECONDS, _WARM_UP = 2, 4.0, 1.0
_numbers = itertools.count()

_MAKE = """
INSERT INTO dispatcher.webhooks (id, account_id, account_no, name, dialect, dialect_fields, url_masked, url_ciphertext,
  event_types, contract, retry_span, enabled)
SELECT m.id, a.id, a.number, 'n' || n, 'bulksms', '{"triggerScope": "SENT", "onWebApp": true}', 'https://example.com/***',
  url, '{message.outbound}', '{"envelope": "array"}', interval '2 days', true
FROM unnest(CAST(:ids AS uuid[]), CAST(:urls AS bytea[])) WITH ORDINALITY m(id, url, n),
  (SELECT id, number FROM dispatcher.accounts WHERE name = :account) a(id, number)"""


def beside_readers(bench: Bench) -> Sample:
    """Events of one account over HTTP, alone (`alone_p99_ms`) and beside the readers (`p99_ms`); `answers`: what these
    got a second; `memory_mb`: by how much the API grew."""
    fleet, account = bench.fleet([bench.servers.receiver.url()]), f"read {next(_numbers)}"
    bench.end_worker()
    bench.clear()
    with bench.servers.installation.transaction() as session:
        create_account(session, account, by=BY)
        token = create_key(session, by=BY, account=account, scopes=[Scope.READ]).token
    _make_webhooks(bench, account)
    with serving(bench, fleet) as served, ThreadPoolExecutor(1) as pool:
        _write(served.ports, served.token)  # what the first requests must load and connect is not measured
        _read(served.ports[0], token, 1.0)
        alone, before = _write(served.ports, served.token), _memory(served.pids[0])
        reading = pool.submit(_read, served.ports[0], token, _SECONDS + _WARM_UP + 1)
        beside = _write(served.ports, served.token)
        answers, after = reading.result(), _memory(served.pids[0])
    return {
        "alone_p50_ms": percentile(alone, 0.5) * 1000,
        "alone_p99_ms": percentile(alone, 0.99) * 1000,
        "p50_ms": percentile(beside, 0.5) * 1000,
        "p99_ms": percentile(beside, 0.99) * 1000,
        "answers": answers / (_SECONDS + _WARM_UP + 1),
        "memory_mb": (after - before) / 1e6,
    }


def _write(ports: tuple[int, ...], token: str) -> list[float]:
    answers = post(ports, events(token), connections=_WRITERS, seconds=_SECONDS, warm_up=_WARM_UP, begun=lambda: None)
    return answers.delays


def _read(port: int, token: str, seconds: float) -> int:
    command = [sys.executable, "-P", "-m", "benchmarks.readers", str(port), token, str(READERS), str(seconds)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=None).stdout)


def _memory(pid: int) -> int:
    """The most that a process had in memory, in bytes."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def _make_webhooks(bench: Bench, account: str) -> None:
    vault, ids = bench.servers.installation.vault, [new_id() for _ in range(WEBHOOKS)]
    urls = [vault.encrypt(f"https://example.com/{one}", Place("webhooks", "url_ciphertext", one)) for one in ids]
    bench.servers.execute(_MAKE, ids=ids, urls=urls, account=account)
    bench.servers.execute("ANALYZE dispatcher.webhooks")
