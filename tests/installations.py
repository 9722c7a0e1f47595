"""The installations of a test: one for each settings object that it uses."""

from sqlalchemy import Engine

from dispatcher.installation import Installation
from dispatcher.producer import _chosen, default_producer
from dispatcher.settings import Settings
from workers.process import Worker

_made: dict[Settings, Installation] = {}
_workers: list[Worker] = []
_engines: dict[str, tuple[Engine, Engine]] = {}
_loop_engines: dict[str, Engine] = {}


def installation_for(settings: Settings) -> Installation:
    """The installation with these settings, the same one until it is closed. It reuses the database connections, and
    the compiled statements, of those before on the same database."""
    if settings not in _made:
        made = _made[settings] = Installation(settings)
        url = settings.database_url.get_secret_value()
        made.engine, made.statements = _engines.setdefault(url, (made.engine, made.statements))
    return _made[settings]


def worker_for(settings: Settings) -> Worker:
    """A new worker, like a child's, except that it reuses the database connections of the worker before."""
    worker = Worker(installation_for(settings))
    worker.loop_engine = _loop_engines.setdefault(settings.database_url.get_secret_value(), worker.loop_engine)
    _workers.append(worker)
    return worker


def close_installations(but: Settings | None = None) -> None:
    """Closes what a test used, so that nothing is left for the next. `but` keeps the installation that most tests use,
    and all connections."""
    while _workers:
        _workers.pop().drop_transport()
    for settings in [made for made in _made if made != but]:
        del _made[settings]
    for kept in _made.values():  # what holds for a second
        kept.nearest_types.clear()
        kept.nearest_looks.clear()
    if but is None:
        for engine in (*_loop_engines.values(), *(engine for pair in _engines.values() for engine in pair)):
            engine.dispose()
        _loop_engines.clear()
        _engines.clear()
    if default_producer.cache_info().currsize:
        default_producer().close()
    default_producer.cache_clear()
    _chosen.clear()
