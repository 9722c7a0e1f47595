"""The demo: a whole engine on temporary data, five customers that behave differently, and what happens to messages."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, TextIO

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from dispatcher.accounts.accounts import create_account
from dispatcher.accounts.actor import CommandLine
from dispatcher.embedded.data_dir import FLOWER_USER
from dispatcher.embedded.demo.receivers import BEHAVIOURS, MailCatcher, Receiver
from dispatcher.embedded.process_tree import StopRequested
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.embedded.up import LOGINS, Plan, RunningEngine, about, running_engine, shell_with, sign_in
from dispatcher.errors import DispatcherError
from dispatcher.events.enqueue import enqueue_many
from dispatcher.events.event import Accepted, Event
from dispatcher.installation import Installation
from dispatcher.states import CLOSED, State
from dispatcher.webhooks.registration import register

TIME_SCALE = 1 / 30
BY = CommandLine("demo")
DEADLINE_SECONDS = 50.0
_SECONDS_BETWEEN = 1.0  # states of deliveries change many times a second

_COUNTS = text("""
SELECT w.name, d.state, coalesce(d.reason, '') AS reason, count(*)::integer AS number,
       sum(d.attempt_count)::integer AS attempts, min(d.attempt_count) AS fewest
FROM dispatcher.deliveries d JOIN dispatcher.webhooks w ON w.id = d.webhook_id GROUP BY 1, 2, 3
""")
_ANSWERS = text("""
SELECT DISTINCT w.name, coalesce(r.status::text, r.failure) AS answer
FROM dispatcher.requests r JOIN dispatcher.webhooks w ON w.id = r.webhook_id
""")


_OPEN = set(State) - CLOSED


@dataclass(frozen=True, slots=True)
class WebhookResult:
    """What has become of one webhook's deliveries so far."""

    states: Counter[str]
    attempts: int
    fewest_attempts: int
    answers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the delivery rules require of one webhook's deliveries."""

    state: str | None  # None: any state of a delivery that has not ended
    fewest_attempts: int
    answers: frozenset[str]  # what its receiver does; any other answer fails the demo

    def is_met(self, result: WebhookResult | None, messages: int) -> bool:
        return (
            result is not None
            and result.states.total() == messages
            and result.states.keys() <= ({self.state} if self.state else _OPEN)
            and result.fewest_attempts >= self.fewest_attempts
            and result.answers == self.answers
        )


EXPECTED = {
    "acknowledges": Expectation("delivered", 1, frozenset({"204"})),
    "rejects": Expectation("discarded: rejected", 1, frozenset({"400"})),
    "recovers": Expectation("delivered", 3, frozenset({"503", "200"})),
    "hangs": Expectation(None, 1, frozenset({"timeout"})),
    "redirects": Expectation(None, 1, frozenset({"302"})),
}


_NEXT = """
Next:
  ./run.sh demo --stay   the same, but it keeps running, with a link into its console
  ./run.sh up --dev      an engine that keeps its data; with the five commands of
                         README.md you see callbacks in your own terminal"""


def run_demo(*, stay: bool = False) -> int:
    """Runs the demo and prints what happens. Returns the exit status: 0 only if every outcome is what the rules
    require, 130 after Ctrl-C. With `stay`, the engine then keeps running until Ctrl-C. Raises DispatcherError if it
    cannot start, or if a part of it ends."""
    console = Console(highlight=False)
    console.print("[bold]Dispatcher demo[/]: PostgreSQL, Valkey, API, workers, beat and Flower, with temporary data.")
    console.print(f"Time is scaled: a minute of the retry schedule takes {60 * TIME_SCALE:.0f} seconds here.")
    console.print(f"Its receivers are on {LOOPBACK}, the only address that may be called besides public ones.\n")
    status, stopped = 0, False
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile("w+", prefix="dispatcher-demo-"))
        receiver, mails = stack.enter_context(Receiver()), stack.enter_context(MailCatcher())
        try:
            plan = _plan(receiver, mails)
            engine = stack.enter_context(running_engine(plan, stream=log))
            status = _run_scenario(console, engine, receiver, mails)
            if stay and status == 0:
                _print_stay(console, engine, plan)
                engine.tree.run()
                stopped = True
        except StopRequested:
            status, stopped = 130, True
        except DispatcherError:
            _print_last_lines(console, log)
            raise
        if status == 1:
            _print_last_lines(console, log)
    if stopped:
        console.print("\nStopped.")
    elif status == 0:
        console.print(_NEXT, soft_wrap=True)
    return status


def _print_stay(console: Console, engine: RunningEngine, plan: Plan) -> None:
    console.print("\nThe engine keeps running for you to look at. Ctrl-C stops it.\n")
    rows = about(engine, plan)
    for name in LOGINS:  # below, where a shell knows the commands
        del rows[name]
    for name, value in rows.items():
        console.print(f"  {name:<8}{value}", soft_wrap=True)
    console.print(f"\n{sign_in(engine)}", markup=False, soft_wrap=True)
    console.print("\nIn another terminal start a shell that finds this engine:\n")
    console.print(f"  {shell_with(engine)}", soft_wrap=True)
    console.print("\nand in it, for example:\n")
    for command, what in (
        ("dispatcher delivery list --account demo", "the demo's deliveries"),
        ("dispatcher console-link", "another link into the console"),
        ("dispatcher engine --flower-password", f"Flower's password (user {FLOWER_USER})"),
    ):
        console.print(f"  {command:<39}  {what}", soft_wrap=True)


def _print_last_lines(console: Console, log: TextIO) -> None:
    log.seek(0)
    if lines := log.readlines()[-40:]:
        console.print("\nThe last output of the processes:\n")
        console.print("".join(lines), markup=False, soft_wrap=True)


def _plan(receiver: Receiver, mails: MailCatcher) -> Plan:
    return Plan(
        temporary=True,
        extra_env={
            "DISPATCHER_TIME_SCALE": str(TIME_SCALE),
            "DISPATCHER_LOG_FORMAT": "console",
            "DISPATCHER_SMTP_HOST": "127.0.0.1",
            "DISPATCHER_SMTP_PORT": str(mails.port),
            "DISPATCHER_SMTP_SECURITY": "none",
            "DISPATCHER_MAIL_FROM": "Webhooks <webhooks@localhost>",
            # The egress policy stays on: only the demo's own receivers are let through.
            "DISPATCHER_ALLOWED_NETWORKS": LOOPBACK,
            "DISPATCHER_ALLOWED_PORTS": str(receiver.port),
            "DISPATCHER_HTTPS_ONLY": "false",
        },
    )


def _run_scenario(console: Console, engine: RunningEngine, receiver: Receiver, mails: MailCatcher) -> int:
    installation = Installation(engine.settings)
    _register(installation, receiver)
    receipts = list(enqueue_many(_messages(), producer=installation))
    due = sum(receipt.deliveries for receipt in receipts if isinstance(receipt, Accepted))
    console.print(f"Enqueued {len(receipts)} messages: {due} deliveries for {len(BEHAVIOURS)} webhooks.\n")

    monitor = _Monitor(console, installation.engine, mails, len(receipts))
    if not engine.tree.run(until=monitor.is_over):
        raise StopRequested
    monitor.print_table(receiver)
    problems = [*monitor.problems(), *_receiver_problems(receiver, len(receipts))]
    for problem in problems:
        console.print(f"[red]Not what the rules require:[/] {problem}")
    if not problems:
        console.print("[green]Every outcome is what the delivery rules require.[/]")
    return 1 if problems else 0


def _register(installation: Installation, receiver: Receiver) -> None:
    with installation.transaction() as session:
        account = create_account(session, "demo", by=BY).id
    for behaviour in BEHAVIOURS:
        register(
            installation,
            account,
            by=BY,
            name=behaviour,
            url=receiver.url(behaviour),
            event_types=["message"],
            contact_email=f"{behaviour}@customer.example",
            # A receiver that refuses each message twice would open the circuit, and get one trial request at a time.
            contract={"circuit_breaker": behaviour != "recovers"},
        )


def _messages() -> Iterator[Event]:
    """The bundled messages, in the form of a messaging platform's API, each with its event type."""
    for line in files("dispatcher.embedded.demo").joinpath("messages.ndjson").read_bytes().splitlines():
        message = json.loads(line)
        kind = "message.inbound.received" if message["type"] == "RECEIVED" else _outbound(message["status"]["type"])
        yield Event(type=kind, data=line, account="demo", subject=message["id"], idempotency_key=message["id"])


def _outbound(status: str) -> str:
    return f"message.outbound.{status.lower()}"


class _Monitor:
    """What is printed while the engine works."""

    def __init__(self, console: Console, database: Engine, mails: MailCatcher, messages: int) -> None:
        self._console, self._database, self._mails, self._messages = console, database, mails, messages
        self._results: dict[str, WebhookResult] = {}
        self._printed: Counter[str] = Counter()
        self._printed_at = -_SECONDS_BETWEEN
        self._mails_printed = 0
        self._started = time.monotonic()

    def is_over(self) -> bool:
        """Reads the states and prints changes. Returns whether everything is as expected or the time is over."""
        self._look()
        over = not self.problems() or time.monotonic() - self._started > DEADLINE_SECONDS
        self._print_changes(last=over)
        return over

    def problems(self) -> list[str]:
        """What is not (yet) what the rules require."""
        found = [
            f"the webhook that {name} should have {self._messages} deliveries {expected.state or 'that are retried'}"
            for name, expected in EXPECTED.items()
            if not expected.is_met(self._results.get(name), self._messages)
        ]
        mails = Counter(to.partition("@")[0] for _, to, _ in self._mails.mails)
        for name in BEHAVIOURS:
            wanted = 0 if name == "acknowledges" else 1
            if mails[name] != wanted:
                found.append(f"{wanted} mail should have come for the webhook that {name}, not {mails[name]}")
        return found

    def print_table(self, receiver: Receiver) -> None:
        table = Table(title="Results", title_justify="left", title_style="bold")
        for column in ("webhook", "its receiver", "deliveries", "attempts", "callbacks it got", "mail to its contact"):
            justify: Literal["left", "right"] = "right" if column in {"attempts", "callbacks it got"} else "left"
            table.add_column(column, justify=justify, no_wrap=column == "webhook")
        for name, does in BEHAVIOURS.items():
            result = self._results[name]
            states = _in_order(result.states)
            subjects = [subject for _, to, subject in self._mails.mails if to.startswith(f"{name}@")]
            callbacks = str(len(receiver.bodies[name]))
            table.add_row(name, does, states, str(result.attempts), callbacks, "\n".join(subjects))
        self._console.print()
        self._console.print(table)
        first = receiver.bodies["acknowledges"][0].decode()
        self._console.print("\nThe first callback that «acknowledges» got:")
        self._console.print(first, "", sep="\n", markup=False, soft_wrap=True)

    def _look(self) -> None:
        with self._database.connect() as connection:
            counts = connection.execute(_COUNTS).all()
            answers = connection.execute(_ANSWERS).all()
        for name in BEHAVIOURS:
            mine = [row for row in counts if row.name == name]
            if mine:
                states: Counter[str] = Counter()
                for row in mine:
                    states[f"{row.state}: {row.reason}" if row.reason else row.state] += row.number
                self._results[name] = WebhookResult(
                    states,
                    attempts=sum(row.attempts for row in mine),
                    fewest_attempts=min(row.fewest for row in mine),
                    answers=frozenset(row.answer for row in answers if row.name == name),
                )

    def _print_changes(self, *, last: bool) -> None:
        now = time.monotonic() - self._started
        seconds = f"{now:5.1f} s"
        totals: Counter[str] = Counter()
        for result in self._results.values():
            totals += result.states
        if totals != self._printed and (last or now - self._printed_at >= _SECONDS_BETWEEN):
            self._printed, self._printed_at = totals, now
            self._console.print(f"{seconds}  {_in_order(totals)}")
        for _, to, subject in self._mails.mails[self._mails_printed :]:
            self._console.print(f"{seconds}  [cyan]mail[/] to {to}: {subject}")
        self._mails_printed = len(self._mails.mails)


def _in_order(states: Counter[str]) -> str:
    """Numbers of deliveries by state, in the order of a delivery's life."""
    order = list(State)
    ordered = sorted(states, key=lambda state: (order.index(State(state.partition(":")[0])), state))
    return ", ".join(f"{states[state]} {state}" for state in ordered)


def _receiver_problems(receiver: Receiver, messages: int) -> Iterator[str]:
    if receiver.bodies["elsewhere"]:
        yield "a redirect was followed"
    wanted = {b"[" + event.data + b"]" for event in _messages() if isinstance(event.data, bytes)}
    for behaviour in BEHAVIOURS:
        got = set(receiver.bodies[behaviour])
        if got != wanted or len(got) != messages:
            yield f"the receiver that {behaviour} got {len(got)} different messages, not {messages}"
