"""What it costs those who deliver that people look at the console."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic

from benchmarks.bench import Bench
from benchmarks.cpu import cpu_seconds
from benchmarks.follow import follow
from benchmarks.measures.http import Served, serving
from benchmarks.measures.throughput import LOOPS_END, counted, nothing_open, wake
from benchmarks.signed_in import CONSOLE, sign_in
from benchmarks.stored import store_due
from benchmarks.targets import Sample
from dispatcher.console.kinds import Kind
from workers.maintenance.pulses import count_pulses

PEOPLE = 50
_PAIRS = 4  # of backlogs, one with them and one without, in turns: the machine changes meanwhile


def beside(bench: Bench) -> Sample:
    """A backlog of one webhook, alone (`alone_rate`) and beside 50 people who look at the overview (`rate`), and the
    median of how much was kept in each pair (`kept`); `looks`: how often they looked, a second; `look_us`: CPU time of
    the API for each of them."""
    servers = bench.servers
    fleet = bench.fleet([servers.instant.url()])
    bench.clear()
    worker = bench.worker()
    count_pulses(servers.installation.engine, datetime.now(UTC), monotonic() + 60)  # begins: the rest is not counted
    rates: dict[bool, list[float]] = {True: [], False: []}
    looks, seconds, cpu = 0, 0.0, 0.0

    def deliver() -> float:
        done, count = counted(servers.instant.requests), bench.size.looked_at
        store_due(servers, fleet.ids, count)
        wake(servers)
        sample = follow(servers, [worker], count, done=done, all_done=lambda: nothing_open(servers))
        time.sleep(LOOPS_END)
        return sample["rate"]

    with serving(bench, fleet, env=CONSOLE) as served:
        deliver()
        people = [sign_in(servers.installation, Kind.CONSOLE, fleet.account).cookie for _ in range(PEOPLE)]
        with _looking(served, people):
            pass  # the first look loads the pages
        for number in range(_PAIRS):
            for looked_at in (True, False) if number % 2 else (False, True):
                if not looked_at:
                    rates[False].append(deliver())
                    continue
                with _looking(served, people) as seen:
                    began, before = monotonic(), cpu_seconds(served.pids[0])
                    rates[True].append(deliver())
                    cpu += cpu_seconds(served.pids[0]) - before
                    seconds += monotonic() - began
                looks += seen[0]
    kept = [beside / alone for beside, alone in zip(rates[True], rates[False], strict=True)]
    return {
        "alone_rate": statistics.median(rates[False]),
        "rate": statistics.median(rates[True]),
        "kept": statistics.median(kept),
        "looks": looks / seconds,
        "look_us": cpu / looks * 1e6,
    }


@contextmanager
def _looking(served: Served, people: Sequence[str]) -> Iterator[list[int]]:
    """People with these cookies look until the block ends. Yields a list that then has how often they did."""
    command = [sys.executable, "-P", "-m", "benchmarks.lookers", str(served.ports[0])]
    seen: list[int] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(json.dumps(people) + "\n")
        program.stdin.flush()
        program.stdout.readline()
        try:
            yield seen
        finally:
            said, _ = program.communicate()
    if program.returncode:
        raise RuntimeError("those who look were not answered as they should be")
    seen.append(int(said))
