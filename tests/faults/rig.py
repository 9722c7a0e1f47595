"""A whole installation to do faults to: real nodes as `dispatcher up` starts them, receivers and a backend that keep
ledgers, and the log of what was done."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals
from typing import Any

import psutil
import redis
from sqlalchemy import Row, text

from benchmarks.engine import Node
from dispatcher import Unavailable, enqueue
from dispatcher.accounts.accounts import create_account
from dispatcher.accounts.actor import CommandLine
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.embedded.servers.ports import LOOPBACK, free_port
from dispatcher.embedded.spawning.spawn import spawn
from dispatcher.installation import Installation
from dispatcher.webhooks.registration import register
from tests.faults.ledgers import Died, Harm, Ledger, Received, Role, Sent, Window
from tests.faults.sending_end import TOKEN
from tests.faults.stage import Stage, new_stage
from tests.relay import Relay

BY = CommandLine("storm")
CHILDREN = {"deliver": 2, "upkeep": 3}
READY = {  # what a node says then
    "deliver": " ready.",
    "upkeep": " ready.",
    "beat": "",
    "second-beat": "",
    "api": "Uvicorn running",
    "backend": "",
}
START_SECONDS = 60.0
DOWN_SECONDS = 1.0  # of the database, before it is started again
_PYTHON = [sys.executable, "-P", "-W", "ignore:You're running the worker with superuser privileges", "-m"]
_APP = ["-q", "-A", "workers"]
_WORKER = ["tests.faults.poisonable", *_APP, "worker"]
_BEAT = ["celery", *_APP, "beat", "--pidfile=", "-s"]


class Rig:
    """The running installation. `now` counts from its start; the ledgers have the machine's monotonic time."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.folder, self.database, self.mails = stage, stage.folder, stage.database, stage.mails
        self.installation = Installation(stage.settings)
        self.windows: list[Window] = []
        self.problems: list[str] = []  # of processes
        self.is_mixed = False  # several faults at once: one may be in the way of another
        self.sent: list[Sent] = []  # by the rig itself; the backend has its own ledger
        self.expected_mails: list[str] = []  # addresses
        self.webhooks: dict[str, str] = {}  # path -> id
        self.origin = ""
        self.moody: Relay  # before the receivers, for the moody one
        self.token = ""  # an operator's
        self.api_port = free_port()
        self._environment = stage.environment
        self._words = {
            "deliver": [*_WORKER, "-Q", "deliver", "-n", "deliver@%h", *_workers("deliver")],
            "upkeep": [*_WORKER, "-Q", "mail,upkeep", "-n", "upkeep@%h", *_workers("upkeep")],
            "beat": [*_BEAT, str(self.folder / "beat-schedule")],
            "second-beat": [*_BEAT, str(self.folder / "second-beat-schedule")],
            "api": ["dispatcher.web", "--port", str(self.api_port)],
        }
        self._plain = {
            **{name: ["celery", *self._words[name][1:]] for name in CHILDREN},
            "api": ["uvicorn", "dispatcher.asgi:app", "--port", str(self.api_port)],
        }
        self._nodes: dict[str, Node] = {}
        self._starting: dict[str, Window] = {}  # a node that is not ready yet -> the window that its start ends
        self._known: dict[int, str] = {}  # children of nodes: pid -> node
        self._killed: set[int] = set()  # by the rig
        self._started = 0
        self._harm = Ledger(self.folder / "harm", Harm)
        self._received = Ledger(self.folder / "received", Received)
        self._sent = Ledger(self.folder / "sent", Sent)

    # Processes

    def run(self, name: str, words: Sequence[str], **more: str) -> "subprocess.Popen[bytes]":
        """Starts a Python module, with `more` variables. It ends with this process, and writes to a file named after
        it."""
        with (self.folder / f"{name}.log").open("wb") as output:
            return spawn(
                [*_PYTHON, *words],
                death_signal=Signals.SIGKILL,
                cwd=self.folder,
                env={**self._environment, **more},
                output=output,
            )

    def node(self, name: str) -> Node:
        return self._nodes[name]

    def start_node(self, name: str, *, plain: bool = False, **more: str) -> Node:
        """Starts a node, with `more` variables; does not wait until it is ready. `plain`: as any version starts it, so
        without what poison and short claims need."""
        self._started += 1
        log = f"{name}-{self._started}"
        words = self._plain.get(name, self._words[name]) if plain else self._words[name]
        node = self._nodes[name] = Node(self.run(log, words, **more), self.folder / f"{log}.log")
        return node

    def wait_until_ready(self) -> None:
        """Waits until both workers take tasks, and the API requests. Raises RuntimeError if one does not."""
        for name in (*CHILDREN, "api"):
            self.await_node(name)
        self.look()

    def await_node(self, name: str) -> None:
        """Waits until this one is ready. Raises RuntimeError if it ends or takes too long. In a mix it does not wait:
        what it needs may be away until another fault ends, which would have to wait for it."""
        if self.is_mixed:
            return
        deadline = time.monotonic() + START_SECONDS
        while READY[name] not in self._nodes[name].said():
            self._nodes[name].check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} was not ready within {START_SECONDS:.0f} s")
            time.sleep(0.05)

    def restart(self, name: str, *, lease: float) -> None:
        """Kills a node and starts it again."""
        began = time.monotonic()
        self.kill(name)
        self.start_node(name)
        # Until it works again nothing is claimed, or nothing is swept.
        self._starting[name] = Window(f"{name} killed", began, began, grace=30.0)
        if name == "deliver":
            self.windows.append(Window(f"{name} killed", began, began, grace=lease + 30.0, died=Died.NODE))

    def kill(self, name: str) -> None:
        """Kills a node, all its processes at once as when its machine dies."""
        self._leave_out(name)
        self._nodes.pop(name).kill()

    def stop(self, name: str) -> None:
        """Stops a node as an operator does, with a signal to its main process. Notes it if that does not end it. What
        it has not recorded when its time of grace is over is lost, as if it had died."""
        self._leave_out(name)
        node, began = self._nodes.pop(name), time.monotonic()
        process = psutil.Process(node.pid)
        process.terminate()
        deadline = time.monotonic() + START_SECONDS
        while node.is_running and time.monotonic() < deadline:
            time.sleep(0.05)
        if node.is_running:
            self.problems.append(f"{name} did not stop within {START_SECONDS:.0f} s")
            node.kill()
        if "grace time over" in node.said():
            lease = self.stage.lease
            now = time.monotonic()
            self.windows.append(Window(f"{name} stopped in vain", began, now, grace=lease + 30.0, died=Died.NODE))

    def _leave_out(self, name: str) -> None:
        self._note_children()
        self._starting.pop(name, None)
        self._killed |= {pid for pid, owner in self._known.items() if owner == name}

    def restart_sender(self, name: str) -> None:
        """Kills the API or the backend, and starts it again. That delays nothing that was accepted."""
        self._nodes[name].kill()
        self.start_node(name)

    def crash_database(self, *, lease: float) -> None:
        """Kills the database, and starts it again after a moment; returns when it answers."""
        began = time.monotonic()
        self.stage.postgres.crash()
        time.sleep(DOWN_SECONDS)
        self.stage.postgres.start_again()
        self.database.dispose()
        ended = time.monotonic()
        self.windows.append(Window("database killed", began, ended, grace=lease + 30.0, died=Died.DATABASE))

    @contextmanager
    def backend(self, rate: float, event_type: str, accounts: Sequence[str]) -> Iterator[None]:
        """A backend that sends events for accounts (`ROLE:NAME`), itself and over the API, until the block ends."""
        with self.installation.transaction() as session:
            self.token = create_key(session, by=BY, account=None, scopes=[Scope.OPERATOR]).token
        self._environment[TOKEN] = self.token
        ledger = self.folder / "sent"
        words = [str(ledger), str(rate), event_type, str(self.api_port), *accounts]
        self._words["backend"] = ["tests.faults.sending_end", *words]
        node = self.start_node("backend")
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ledger.exists():
                node.check()
                if time.monotonic() > deadline:
                    raise RuntimeError("the backend did not start")
                time.sleep(0.02)
            yield
        finally:
            self._nodes.pop("backend").kill()

    def kill_child(self, of: str, chance: float) -> None:
        """Kills one of the processes of a node; `chance`, from 0 to 1, says which. Not before the node is ready: Celery
        takes a death until then for a sign that none can start, and ends the node."""
        children = self.children(of)
        if not children or READY[of] not in self._nodes[of].said():
            return
        child = children[int(chance * len(children))]
        self._killed.add(child.pid)
        self.windows.append(died(f"child of {of} killed", time.monotonic()))
        with suppress(psutil.NoSuchProcess):
            child.kill()

    def children(self, of: str) -> list[psutil.Process]:
        """The processes of a node that run its tasks."""
        try:
            return [
                child
                for child in psutil.Process(self._nodes[of].pid).children()
                if child.status() != psutil.STATUS_ZOMBIE
            ]
        except psutil.NoSuchProcess:
            return []

    def look(self) -> None:
        """Notes what has ended by itself, and what is ready again. A node that ended is started again."""
        for name, node in list(self._nodes.items()):
            try:
                node.check()
            except RuntimeError as error:
                self.problems.append(str(error))
                if name in {"api", "backend"}:
                    self.restart_sender(name)
                else:
                    self.restart(name, lease=0)
                continue
            if name in self._starting and READY[name] in node.said():
                begun = self._starting.pop(name)
                ended = time.monotonic()
                self.windows.append(Window(begun.what, begun.began, ended, begun.grace))
        self._note_children()

    def _note_children(self) -> None:
        now = {child.pid: name for name in CHILDREN.keys() & self._nodes.keys() for child in self.children(name)}
        # Read afterwards: a child notes what kills it before it dies.
        poisoned = {harm.pid for harm in self.harm() if harm.deadly}
        for pid in self._known.keys() - now.keys() - poisoned - self._killed:
            self.problems.append(f"a child of {self._known[pid]}, process {pid}, ended by itself")
            self.windows.append(died("a child ended by itself", time.monotonic()))
        self._known = now

    def check_whole(self) -> None:
        """Notes a node that has not as many processes as it should. One that has just died is being replaced."""
        deadline = time.monotonic() + START_SECONDS
        while any(len(self.children(name)) != count for name, count in CHILDREN.items()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        for name, wanted in CHILDREN.items():
            if (count := len(self.children(name))) != wanted:
                self.problems.append(f"{name} has {count} children, not {wanted}")

    # Work

    def register(self, account: str, path: str, *event_types: str, origin: str | None = None, **fields: Any) -> str:
        """Makes a webhook for a path of the receivers; returns its id."""
        made = register(
            self.installation,
            account,
            by=BY,
            url=(origin or self.origin) + path,
            event_types=list(event_types),
            **fields,
        )
        self.webhooks[path] = str(made.id)
        return str(made.id)

    def make_account(self, name: str) -> None:
        with self.installation.transaction() as session:
            create_account(session, name, by=BY)

    def send(self, role: Role, account: str, event_type: str, body: str = "") -> None:
        """Enqueues one event, and notes it."""
        number, asked = f"r{len(self.sent)}", time.monotonic()
        try:
            receipt = enqueue(event_type, {"n": number, "body": body}, account=account, producer=self.installation)
        except Unavailable:  # whether it was stored is not always known
            self.sent.append(Sent(number, role, asked, time.monotonic(), event=None, deliveries=None))
            raise
        self.sent.append(Sent(number, role, asked, time.monotonic(), str(receipt.event_id), receipt.deliveries))

    def control(self, word: str) -> None:
        """Tells the receivers something."""
        with urllib.request.urlopen(f"{self.origin}/control/{word}", timeout=10):
            pass

    def execute(self, statement: str, **parameters: object) -> None:
        with self.database.connect() as connection:
            connection.execute(text(statement), parameters)

    def rows(self, statement: str, **parameters: object) -> Sequence[Row[Any]]:
        with self.database.connect() as connection:
            return connection.execute(text(statement), parameters).all()

    def broker(self) -> "redis.Redis":
        """A client of the broker itself."""
        valkey = self.stage.valkey
        return redis.Redis(host=LOOPBACK, port=valkey.port, password=valkey.password, socket_timeout=5)

    # Ledgers

    def harm(self) -> Sequence[Harm]:
        return self._harm.read()

    def received(self) -> Sequence[Received]:
        return self._received.read()

    def all_sent(self) -> list[Sent]:
        by_number = {one.number: one for one in self._sent.read()}  # the last line says most
        return [*by_number.values(), *self.sent]


def died(what: str, at: float) -> Window:
    """The window of a process that sends and has died: what it had comes again at once."""
    return Window(what, at, at, grace=30.0, died=Died.CHILD)


@contextmanager
def running_rig(*, lease: float, time_scale: float, durable: bool, small_disk: bool = False) -> Iterator[Rig]:
    """Everything but nodes and backend; the options are those of `new_stage`."""
    with new_stage(lease=lease, time_scale=time_scale, durable=durable, small_disk=small_disk) as stage:
        rig = Rig(stage)
        try:
            with _receivers(rig):
                try:
                    yield rig
                finally:
                    for node in rig._nodes.values():
                        node.kill()
        finally:
            rig.installation.close()


@contextmanager
def _receivers(rig: Rig) -> Iterator[None]:
    port_file = rig.folder / "port"
    process = rig.run("receivers", ["tests.faults.receiving_end", str(rig.folder / "received"), str(port_file)])
    try:
        _wait_for(port_file, process, "the receivers")
        rig.origin = f"http://{LOOPBACK}:{port_file.read_text()}"
        with Relay(int(port_file.read_text())) as rig.moody:
            yield
    finally:
        end(process)


def _wait_for(file: Path, process: "subprocess.Popen[bytes]", name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not start")
        time.sleep(0.02)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process as it likes it, or else at once."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def own_variables() -> list[str]:
    """The variables of the user's own engine, which must not affect a rig."""
    return [name for name in os.environ if name.startswith("DISPATCHER_")]


def _workers(node: str) -> list[str]:
    return ["-P", "prefork", "-c", str(CHILDREN[node])]
