"""A whole engine on this machine: servers, migrations, API, workers, beat and Flower in one process tree."""

import contextlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rich.console import Console

from dispatcher.embedded.console_here import URL, login, switched_on
from dispatcher.embedded.counters import MAX, Counters
from dispatcher.embedded.data_dir import (
    API_ADDRESS,
    FLOWER_ADDRESS,
    FLOWER_PASSWORD,
    FLOWER_USER,
    KEYS,
    DataDirectory,
    new_password,
)
from dispatcher.embedded.errors import PortTaken, StartFailed
from dispatcher.embedded.given_servers import ask_broker, ask_database
from dispatcher.embedded.json_lines import JsonLines
from dispatcher.embedded.output import Display, LogFile
from dispatcher.embedded.process_tree import Child, ProcessTree, StopRequested
from dispatcher.embedded.readiness import answers, at_once, worker_answers
from dispatcher.embedded.receivers_here import deciding, with_this_machine
from dispatcher.embedded.screen import CalmScreen
from dispatcher.embedded.servers.ports import LOOPBACK, is_free, preferred_port
from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from dispatcher.embedded.spawning.spawn import inherited
from dispatcher.settings import Settings, check_environment, default_data_dir, without_files
from dispatcher.transport.trust import trusted_authorities

API_PORT = 8080
FLOWER_PORT = 5555
CA_BUNDLE = "DISPATCHER_CA_BUNDLE"
LOG_FORMAT = "DISPATCHER_LOG_FORMAT"
LOG_FILE = "engine.log"

_STARTING = "Starting. Each line below begins with the name of the process that wrote it."
_RUNNING = "The engine is running. Ctrl-C stops it."
_STOPPING = "Stopping. Deliveries in flight are retried at the next start."

_NO_WRAPPING = 10_000

_AS_ROOT_ON_PURPOSE = "ignore:You're running the worker with superuser privileges"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, and where. A port of None: the usual one, or a free one if that is taken. `dev`: receivers on this
    machine may be called."""

    data_dir: Path | None = None
    temporary: bool = False
    dev: bool = False
    api_port: int | None = None
    flower_port: int | None = None
    concurrency: int = 2
    extra_env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """An engine that is ready: its addresses, and its tree, to which more children can be added."""

    tree: ProcessTree
    directory: DataDirectory
    environment: Mapping[str, str]
    api_address: str
    flower_address: str

    @property
    def settings(self) -> Settings:
        """What its processes have read from their environment."""
        return check_environment(self.environment)


def run_up(plan: Plan, *, every_line: bool = False) -> None:
    """Run the engine until Ctrl-C or SIGTERM. A terminal shows one calm screen; without a terminal, or with
    `every_line`, all lines of the processes are shown; if logs are set to be JSON, nothing but that. What ends by
    itself is started again. Raises an EmbeddedError if the engine cannot start, or its PostgreSQL cannot run any
    more."""
    console = Console(highlight=False, markup=False, emoji=False)
    path = plan.data_dir or default_data_dir()
    kept = "Temporary data is removed." if plan.temporary else f"Data is kept in {path.absolute()}."
    lines = JsonLines() if inherited(plan.extra_env).get(LOG_FORMAT) == "json" else None
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(StopRequested))
        screen = None
        if lines is None and console.is_terminal and not console.is_dumb_terminal and not every_line:
            screen = stack.enter_context(CalmScreen(console))
        engine = stack.enter_context(running_engine(plan, display=screen or lines))
        if screen is None:
            engine.tree.say(_welcome(engine, plan, width=console.width if console.is_terminal else _NO_WRAPPING))
            if lines is None:  # log collectors keep what they get
                engine.tree.say(sign_in(engine))
            engine.tree.keep_running()
            engine.tree.say(f"\n{_STOPPING}")
        else:
            _show(engine, plan, screen)
    stopped = f"Stopped. {kept}\n"
    if lines is not None:
        lines.say(stopped)
    else:
        sys.stdout.write(stopped)


def _show(engine: RunningEngine, plan: Plan, screen: CalmScreen) -> None:
    fixed, warnings = about(engine, plan), _warnings(engine)
    screen.headline = _RUNNING
    screen.say(sign_in(engine))
    with Counters(engine.environment["DATABASE_URL"], engine.environment["BROKER_URL"]) as counters:

        def looks() -> bool:
            screen.rows = {**fixed, **_counted(counters), "Next": _next(engine, plan)}
            screen.warnings = [*warnings, *([counters.problem] if counters.problem else [])]
            return False

        engine.tree.keep_running(until=looks)
    screen.ends(_STOPPING)


@contextlib.contextmanager
def running_engine(
    plan: Plan, *, stream: TextIO | None = None, display: Display | None = None
) -> Iterator[RunningEngine]:
    """A ready engine for the duration of a block. What its children write goes to `display` (default: every line, to
    `stream`, by default stdout), and is kept in the data directory.

    Raises StopRequested if it is interrupted while starting.
    """
    # Without the settings that an earlier engine left in its file. Children start in another folder.
    given = without_files(inherited(plan.extra_env))
    if given.get(CA_BUNDLE):
        given[CA_BUNDLE] = str(Path(given[CA_BUNDLE]).absolute())
    _ask_servers(given)
    directory = DataDirectory.temporary() if plan.temporary else DataDirectory.at(plan.data_dir)
    with (
        directory,
        LogFile(directory.path / LOG_FILE) as log,
        ProcessTree(stream=stream, display=display, log=log) as tree,
    ):
        api_port = _choose_port(tree, "API", plan.api_port, API_PORT)
        flower_port = _choose_port(tree, "Flower address", plan.flower_port, FLOWER_PORT, taken=api_port)
        if display is None:
            tree.say(_STARTING)
        addresses = {
            "DATABASE_URL": given.get("DATABASE_URL") or _postgres(tree, directory, plan),
            "BROKER_URL": given.get("BROKER_URL") or _valkey(tree, directory, plan),
            API_ADDRESS: f"http://{LOOPBACK}:{api_port}",
            FLOWER_ADDRESS: f"http://{LOOPBACK}:{flower_port}",
        }
        egress = with_this_machine(deciding(given)) if plan.dev else deciding(given)
        console = switched_on(given, addresses[API_ADDRESS])
        lines = {**addresses, **egress, **console, **directory.lasting_secrets(keys=given.get(KEYS, ""))}
        directory.publish(lines)
        # People read lines, log collectors read JSON. What the environment says takes precedence.
        readable = {LOG_FORMAT: "console"} if (stream or sys.stdout).isatty() else {}
        environment = {
            **readable,
            **given,
            **egress,
            **console,
            "PYTHONUNBUFFERED": "1",
            "DISPATCHER_DATA_DIR": str(directory.path),
            **{name: lines[name] for name in ("DATABASE_URL", "BROKER_URL", KEYS)},
        }
        tree.finish(_python("migrate", directory, environment, "dispatcher", "migrate"))
        try:
            tree.start(*_engine_children(plan, directory, environment, api_port))
            # Flower lists the workers that it finds at its own start.
            tree.start(_flower(directory, environment, flower_port, lines[FLOWER_PASSWORD]))
        except StartFailed:
            _ask_servers(given)  # raises if one of these went away
            raise
        yield RunningEngine(tree, directory, environment, addresses[API_ADDRESS], addresses[FLOWER_ADDRESS])


def _ask_servers(environment: Mapping[str, str]) -> None:
    """Raises ConfigurationError for invalid settings, and ServerAway if a given server does not answer."""
    database, broker = (environment.get(name, "") for name in ("DATABASE_URL", "BROKER_URL"))
    to_be_made = {"DATABASE_URL": database or "postgresql://", "BROKER_URL": broker or "redis://"}
    settings = check_environment({URL: f"http://{LOOPBACK}", **environment, **to_be_made})
    trusted_authorities(settings.ca_bundle)
    if database:
        ask_database(settings.database_url.get_secret_value())
    if broker:
        ask_broker(broker)


def _choose_port(tree: ProcessTree, purpose: str, asked: int | None, usual: int, *, taken: int = 0) -> int:
    if asked is not None:
        if asked == taken or not is_free(asked):
            raise PortTaken(purpose, asked)
        return asked
    port = preferred_port(usual, taken=frozenset({taken}))
    if port != usual:
        tree.say(f"Port {usual} is taken; the {purpose} uses {port}.")
    return port


def _postgres(tree: ProcessTree, directory: DataDirectory, plan: Plan) -> str:
    def make(output: int) -> EmbeddedPostgres:
        return EmbeddedPostgres(
            directory.path / "postgres", password=new_password(), durable=not plan.temporary, output=output
        )

    return tree.serve("postgres", make, needed=True).url


def _valkey(tree: ProcessTree, directory: DataDirectory, plan: Plan) -> str:
    def make(output: int) -> EmbeddedValkey:
        return EmbeddedValkey(
            directory.path / "valkey", password=new_password(), persistent=not plan.temporary, output=output
        )

    return tree.serve("valkey", make).url


def _engine_children(
    plan: Plan, directory: DataDirectory, environment: Mapping[str, str], api_port: int
) -> tuple[Child, ...]:
    def workers(name: str, *words: str, ready: Callable[[], bool] = at_once) -> Child:
        return _python(name, directory, environment, "workers", *words, ready=ready)

    broker = environment["BROKER_URL"]
    serve = ("dispatcher.web", "--host", LOOPBACK, "--port", str(api_port))
    return (
        _python("api", directory, environment, *serve, ready=answers(api_port, "/healthz")),
        workers("deliver", "deliver", "-c", str(plan.concurrency), ready=worker_answers(broker, "deliver")),
        workers("upkeep", "maintenance", ready=worker_answers(broker, "upkeep")),
        workers("beat", "beat", "-s", str(directory.path / "beat-schedule")),
    )


def _flower(directory: DataDirectory, environment: Mapping[str, str], port: int, password: str) -> Child:
    # In the environment, not in arguments: every account of the machine can read those.
    chosen = {**environment, "FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{password}", "FLOWER_READ_ONLY": "true"}
    words = ("celery", "-q", "-A", "workers", "flower", "--logging=error", f"--address={LOOPBACK}", f"--port={port}")
    return _python("flower", directory, chosen, *words, ready=answers(port, "/healthcheck"))


def _python(
    name: str,
    directory: DataDirectory,
    environment: Mapping[str, str],
    *words: str,
    ready: Callable[[], bool] = at_once,
) -> Child:
    # Started inside the data directory and with -P: Celery and Python look for modules in the current folder, and the
    # user's current folder may contain a package `workers` of another program.
    argv = (sys.executable, "-P", "-W", _AS_ROOT_ON_PURPOSE, "-m", *words)
    return Child(name, argv, environment, ready, cwd=directory.path)


LOGINS = {
    "Sign in": "to the console: `dispatcher console-link` prints a link",
    "Password": f"of Flower's user {FLOWER_USER}: `dispatcher engine --flower-password`",
}


def about(engine: RunningEngine, plan: Plan) -> dict[str, str]:
    """What people need to know about a running engine: addresses, how to sign in, and files, by name."""
    directory = engine.directory.path
    return {
        "API": engine.api_address,
        "Console": f"{engine.settings.console_url}/console" if engine.settings.console == "on" else "switched off",
        "Flower": engine.flower_address,
        **LOGINS,
        "Data": f"{directory}{'  (temporary: deleted at the end)' if plan.temporary else ''}",
        "Log": str(directory / LOG_FILE),
    }


def sign_in(engine: RunningEngine) -> str:
    """How to get into the console, on one line that can be copied; "" while it is switched off."""
    address = login(engine.settings)
    return f"Sign in to the console, once and within an hour:\n{address}\n" if address is not None else ""


def shell_with(engine: RunningEngine) -> str:
    """The command that starts a shell in which `dispatcher` finds the engine."""
    return f"{_elsewhere(engine.directory.path)}./run.sh shell"


def _elsewhere(directory: Path) -> str:
    """What goes before a command if the engine is not where commands look for it."""
    return "" if directory == default_data_dir().absolute() else f"DISPATCHER_DATA_DIR={directory} "


def _next(engine: RunningEngine, plan: Plan) -> str:
    command = "dispatcher listen --register --account acme" if plan.dev else "dispatcher --help"
    return f"{shell_with(engine)}, then: {command}"


def _warnings(engine: RunningEngine) -> list[str]:
    return [f"WARNING: {warning}." for warning in engine.settings.warnings]


def _counted(counters: Counters) -> dict[str, str]:
    if (counts := counters.counts) is None:
        return {}
    deliveries = ", ".join(f"{number:,} {state}" for state, number in counts.deliveries.items())
    many = sum(counts.deliveries.values()) >= MAX
    return {
        "Events": f"{MAX:,} or more" if counts.events >= MAX else f"{counts.events:,}",
        "Deliveries": f"{deliveries or 'none'}{f', of the newest {MAX:,}' if many else ''}",
    }


def _welcome(engine: RunningEngine, plan: Plan, *, width: int) -> str:
    rows = {**about(engine, plan), "Next": _next(engine, plan)}
    warnings = [line for warning in _warnings(engine) for line in (textwrap.fill(warning, width), "")]
    return "\n".join(("", _RUNNING, "", *(f"  {name:<10}{value}" for name, value in rows.items()), "", *warnings))
