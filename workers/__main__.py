"""`python -m workers PROCESS...`: one process of the engine, or several, which load only what they use."""

import sys

from dispatcher.memory import leave_out
from workers.arguments import read


def main() -> None:
    """Runs them until it is told to stop. Exit status 0 after a stop, 1 if one cannot work (it says why), 2 for wrong
    arguments."""
    words = sys.argv[1:]
    parts = read(words)
    names = [part.process for part in parts]
    # structlog shows tracebacks with rich, kombu writes YAML, and limits counts in Valkey, which none of ours does.
    # billiard makes one system call with cffi, for which it loads a parser of C in each child; without it, it uses
    # ctypes.
    leave_out("rich", "yaml", "cffi", "psutil", "valkey")
    if "api" not in names:
        leave_out("opentelemetry")  # the API's framework needs it

    from dispatcher.logs.process import begin_process, refuse  # noqa: PLC0415 - after what is left out

    begin_process(names[0] if len(names) == 1 else "workers")

    from dispatcher.errors import ConfigurationError  # noqa: PLC0415 - what goes wrong from here on is logged
    from dispatcher.settings import read_settings  # noqa: PLC0415
    from workers.processes import load  # noqa: PLC0415

    try:
        settings = read_settings()
        runs = load(parts, settings)
    except ConfigurationError as error:
        refuse(error)
    part = parts[0]
    if len(parts) > 1:
        from workers.forking import become_one_of  # noqa: PLC0415

        part = parts[names.index(become_one_of(names))]
    # Celery restarts a worker on SIGHUP by these words; those of `-m` would name a file inside this package.
    sys.argv = [*sys.orig_argv[1 : -len(words)], *part.words]
    runs[part.process]()


if __name__ == "__main__":
    main()
