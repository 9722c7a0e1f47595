"""The words after `python -m workers`: which processes to run, and the options of each. Loads nothing of them."""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from dispatcher.web.arguments import add_options

PROCESSES = ("api", "deliver", "maintenance", "beat")


@dataclass(frozen=True, slots=True)
class Part:
    """What one process is: its part of the command line, and what that says."""

    words: tuple[str, ...]
    options: Namespace

    @property
    def process(self) -> str:
        return self.words[0]


def read(words: Sequence[str]) -> list[Part]:
    """The processes in the order of the command line. Ends this process for `--help` (status 0) and for wrong arguments
    (status 2)."""
    parser = _parser()
    begins = sorted({0, *(place for place, word in enumerate(words) if word in PROCESSES)})
    parts = []
    for begin, end in zip(begins, [*begins[1:], len(words)], strict=True):
        part = tuple(words[begin:end])
        parts.append(Part(part, parser.parse_args(part)))
    names = [part.process for part in parts]
    for name in names:
        if names.count(name) > 1:
            parser.error(f"{name} is there twice: start the second one with a command of its own")
    nodes = [part.options.name for part in parts if part.process in {"deliver", "maintenance"}]
    if len(nodes) > len(set(nodes)):
        parser.error(f"two nodes have the name {nodes[0]}: give each another one with -n")
    if len(parts) > 1 and sys.platform != "linux":
        parser.error("several processes in one command need Linux: start each with a command of its own")
    return parts


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -P -m workers",
        usage="%(prog)s [-h] PROCESS [options] [PROCESS [options] ...]",
        description="Runs processes of the engine until SIGTERM. Settings come from the environment.",
        epilog="PROCESS --help lists its options. Several in one command share memory (Linux): one more process loads "
        "what they use, starts them, and starts again what ends by itself.",
    )
    processes = parser.add_subparsers(metavar="PROCESS", required=True, prog=parser.prog)
    add_options(processes.add_parser("api", help="the HTTP API", description="Runs the HTTP API."))
    for process, does, queues, name, children in (
        ("deliver", "delivers events", ["deliver"], "deliver@%h", 2),
        ("maintenance", "sweeps, cleans up and sends problem notices", ["mail", "upkeep"], "upkeep@%h", 3),
    ):
        worker = processes.add_parser(
            process,
            help=f"a worker that {does}",
            description=f"Runs a worker that {does}: a Celery worker with the queues {', '.join(queues)}.",
            formatter_class=ArgumentDefaultsHelpFormatter,
        )
        worker.add_argument(
            "-c", "--concurrency", type=_children, default=children, metavar="N", help="child processes that work"
        )
        worker.add_argument(
            "-n",
            "--name",
            default=name,
            help="the name of the node, different from that of every other; %%h is the name of the server",
        )
        worker.add_argument(
            "--metrics",
            type=_address,
            metavar="[ADDRESS:]PORT",
            help="where the node shows its metrics to Prometheus; without an address on 127.0.0.1",
        )
        worker.set_defaults(queues=queues)
    beat = processes.add_parser(
        "beat",
        help="sends the periodic tasks; start exactly one",
        description="Sends the periodic tasks to the maintenance workers. Start exactly one.",
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    beat.add_argument(
        "-s", "--schedule", default="beat-schedule", metavar="FILE", help="where it keeps when each task was last sent"
    )
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    try:
        ip_address(host)
    except ValueError:
        raise ArgumentTypeError(f"{text!r}: before the colon must be an IP address") from None
    if not (port.isdecimal() and port.isascii() and 1 <= int(port) <= 65535):
        raise ArgumentTypeError(f"{text!r} does not end with a port from 1 to 65535")
    return host, int(port)


def _children(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
