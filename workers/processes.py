"""The processes of the engine: what each loads, and how it runs."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from celery import Celery

from dispatcher.errors import ConfigurationError
from dispatcher.memory import give_back
from dispatcher.settings import Settings
from workers.app import make_app
from workers.arguments import Part

if TYPE_CHECKING:
    from workers.metrics.port import Port

# What a process does not use it does not load.
# ruff: noqa: PLC0415


def load(parts: Sequence[Part], settings: Settings) -> dict[str, Callable[[], None]]:
    """Loads what these processes use, and connects to nothing. Returns for each, by its name, what runs it until it is
    told to stop. Raises ConfigurationError."""
    names = {part.process for part in parts}
    app = _workers_app(settings) if names & {"deliver", "maintenance"} else None
    runs: dict[str, Callable[[], None]] = {}
    for part in parts:
        match part.process:
            case "api":
                runs["api"] = _api(part.options, settings)
            case "beat":
                runs["beat"] = partial(_send_periodic, app or make_app(settings), part.options)
            case worker:
                assert app is not None
                runs[worker] = partial(_work, app, settings, part.options)
    return runs


def _api(options: Namespace, settings: Settings) -> Callable[[], None]:
    import dispatcher.asgi  # noqa: F401 - the server would load it by its name
    from dispatcher.web.__main__ import serve

    return partial(serve, options, settings)


def _workers_app(settings: Settings) -> Celery:
    import celery.worker.components
    import celery.worker.consumer  # noqa: F401 - a worker loads both by their names
    from sqlalchemy.orm import configure_mappers

    from dispatcher.transport.choice import transport_name
    from workers.celery_app import make_celery

    transport_name(settings)  # loads the transport
    configure_mappers()  # or each child would do it at its first statement
    app = make_celery(settings)
    app.finalize()
    return app


def _work(app: Celery, settings: Settings, options: Namespace) -> None:
    from celery.utils.nodenames import default_nodename, host_format

    port = _metrics_port(options, settings)
    if port is not None:
        port.begin()
    worker = app.Worker(
        hostname=host_format(default_nodename(options.name)),
        queues=options.queues,
        concurrency=options.concurrency,
        quiet=True,
    )
    if port is not None:
        port.show(options.concurrency)
    worker.start()
    raise SystemExit(worker.exitcode)


def _metrics_port(options: Namespace, settings: Settings) -> "Port | None":
    """Taken before all else, so that one that others have ends the node at once."""
    if options.metrics is None:
        return None
    from workers.metrics.port import Port

    address, port = options.metrics
    try:
        return Port(address, port, settings.metrics_token)
    except ConfigurationError as error:
        raise SystemExit(f"Error: {error}") from None


def _send_periodic(app: Celery, options: Namespace) -> None:
    give_back()
    app.Beat(schedule=options.schedule, quiet=True).run()
