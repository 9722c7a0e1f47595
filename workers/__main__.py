"""`python -m workers deliver|maintenance|beat`: one process of the engine, which loads only what it uses."""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, ArgumentTypeError, Namespace

from dispatcher.memory import give_back, leave_out

# structlog shows tracebacks with rich, and kombu writes YAML, which none of our logs and messages has. billiard makes
# one system call with cffi, for which it loads a parser of C in each child; without it, it uses ctypes.
leave_out("rich", "yaml", "cffi", "psutil", "opentelemetry")

from dispatcher.errors import ConfigurationError  # noqa: E402 - after what is left out
from dispatcher.settings import Settings, read_settings  # noqa: E402


def main() -> None:
    """Runs it until it is told to stop. Exit status 0 after a stop, 1 if it cannot work (it says why), 2 for wrong
    arguments."""
    options = _parser().parse_args()
    # Celery restarts a worker on SIGHUP by these words; those of `-m` would name a file inside this package.
    sys.argv = sys.orig_argv[1:]
    try:
        settings = read_settings()
    except ConfigurationError as error:
        sys.exit(f"Error: {error}")
    if options.queues:
        _work(settings, options)
    else:
        _send_periodic(settings, options.schedule)


def _work(settings: Settings, options: Namespace) -> None:
    from celery.utils.nodenames import default_nodename, host_format  # noqa: PLC0415 - beat works without these

    from workers.celery_app import make_celery  # noqa: PLC0415

    worker = make_celery(settings).Worker(
        hostname=host_format(default_nodename(options.name)),
        queues=options.queues,
        concurrency=options.concurrency,
        quiet=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


def _send_periodic(settings: Settings, schedule: str) -> None:
    from workers.app import make_app  # noqa: PLC0415

    give_back()
    make_app(settings).Beat(schedule=schedule, quiet=True).run()


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -P -m workers",
        description="Runs one process of the engine until SIGTERM. Settings come from the environment.",
    )
    processes = parser.add_subparsers(metavar="PROCESS", required=True)
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
    beat.set_defaults(queues=[])
    return parser


def _children(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    main()
