"""Two Valkey servers, one of them the master, and two sentinels that watch them, all with passwords."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

import redis

from dispatcher.embedded.servers.valkey import _find_program
from tests.dead_ports import refusing_port

MASTER, PASSWORD, SENTINELS_PASSWORD = "events", "planted-master", "planted-sentinel"


@dataclass(frozen=True, slots=True)
class Watched:
    """The running servers by port."""

    sentinels: tuple[int, int]
    servers: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        first, second = self.sentinels
        return (
            f"sentinel://:{PASSWORD}@127.0.0.1:{first};sentinel://127.0.0.1:{second}/0"
            f"?master_name={MASTER}&sentinel_password={SENTINELS_PASSWORD}"
        )

    @property
    def master(self) -> int:
        """The port of the master, as the second sentinel knows it."""
        return int(self._ask("GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def client(self) -> "redis.Redis":
        """To who is the master now."""
        return redis.Redis(port=self.master, password=PASSWORD, decode_responses=True)

    def fail_over(self) -> None:
        """The other server becomes the master, and this one its replica."""
        before = self.master
        self._ask("FAILOVER", MASTER)
        self._until_other_than(before)
        self.until(lambda: not _takes_writes(before), "the old master did not become a replica")

    def lose_master(self, how: Signals) -> None:
        """It is killed, or hangs (SIGSTOP) without a word."""
        before = self.master
        self.servers[before].send_signal(how)
        self._until_other_than(before)

    def _until_other_than(self, before: int) -> None:
        self.until(lambda: self.master != before and _takes_writes(self.master), "no other server became the master")

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Waits for what the servers bring about."""
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.02)

    def _ask(self, *words: str) -> list[str]:
        with redis.Redis(port=self.sentinels[1], password=SENTINELS_PASSWORD, decode_responses=True) as client:
            return client.execute_command(f"SENTINEL {words[0]}", *words[1:])  # type: ignore[no-any-return]

    def look_every(self, *, replicas: float, sentinels: float) -> bool:
        """How often a sentinel looks for these, in seconds. False: one has not started yet."""
        periods = ("info-period", int(replicas * 1000), "publish-period", int(sentinels * 1000))
        try:
            for port in self.sentinels:
                with redis.Redis(port=port, password=SENTINELS_PASSWORD) as client:
                    client.execute_command("SENTINEL DEBUG", *periods)
        except redis.ConnectionError:
            return False
        return True

    def replicates(self) -> bool:
        """Whether a fail-over can begin: both sentinels know of each other and of a replica that is in step."""
        for port in self.sentinels:
            with redis.Redis(port=port, password=SENTINELS_PASSWORD, decode_responses=True) as client:
                (state,) = client.sentinel_masters().values()
                known = client.sentinel_slaves(MASTER)
                if state["num-other-sentinels"] != 1 or [one["master-link-status"] for one in known] != ["ok"]:
                    return False
        return True


def _takes_writes(port: int) -> bool:
    try:
        with redis.Redis(port=port, password=PASSWORD) as client:
            return bool(client.set("written", "1", px=1))
    except redis.RedisError:
        return False


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def watched_servers(folder: Path) -> Iterator[Watched]:
    """Ready to fail over."""
    made = Watched((refusing_port(), refusing_port()))
    with ExitStack() as stack:

        def start(port: int, *words: str, configuration: str) -> "subprocess.Popen[bytes]":
            place = folder / str(port)
            place.mkdir()
            (place / "conf").write_text(_lines("bind 127.0.0.1", f"port {port}", f"dir {place}") + configuration)
            process = subprocess.Popen([_find_program(), place / "conf", *words], stdout=subprocess.DEVNULL)
            stack.callback(process.wait, 20)
            stack.callback(process.kill)
            return process

        master, replica = refusing_port(), refusing_port()
        ours = _lines('save ""', f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", "repl-diskless-sync-delay 0")
        made.servers[master] = start(master, configuration=ours)
        made.servers[replica] = start(replica, configuration=ours + _lines(f"replicaof 127.0.0.1 {master}"))
        for port in made.sentinels:
            start(
                port,
                "--sentinel",
                configuration=_lines(
                    f"requirepass {SENTINELS_PASSWORD}",
                    f"sentinel sentinel-pass {SENTINELS_PASSWORD}",
                    f"sentinel monitor {MASTER} 127.0.0.1 {master} 2",
                    f"sentinel auth-pass {MASTER} {PASSWORD}",
                    f"sentinel down-after-milliseconds {MASTER} 500",
                    f"sentinel failover-timeout {MASTER} 3000",
                ),
            )
        made.until(lambda: made.look_every(replicas=0.1, sentinels=0.1), "the sentinels did not start")
        made.until(made.replicates, "the servers did not find each other")
        # Old masters become replicas after four times the second of these. Much less, and a sentinel that has not heard
        # from the others yet turns the new master into one.
        made.look_every(replicas=1, sentinels=0.5)
        yield made
