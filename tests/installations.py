"""The installations of a test: one for each settings object that it uses. And its settings, as its environment is."""

import os
from functools import cache
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher.console.looks import Looks
from dispatcher.installation import Installation
from dispatcher.producer import Producer, _chosen, default_producer
from dispatcher.settings import Settings, read_settings
from dispatcher.settings.connection_file import connection_file
from dispatcher.settings.secret_files import found_in_files, given_variables
from dispatcher.wake import Waker
from dispatcher.webhooks.pulses.recent import Recent
from workers.process import Worker

_made: dict[Settings, Installation] = {}
_producers: dict[Settings, Producer] = {}
_workers: list[Worker] = []
_engines: dict[str, tuple[Engine, Engine]] = {}
_loop_engines: dict[str, Engine] = {}


def settings_now(**chosen: Any) -> Settings:
    """`read_settings`, which is run once for an environment: most tests have the same one, and it takes milliseconds.
    What is in files can change, so it is read each time."""
    if chosen or connection_file() or found_in_files(given_variables()):
        return read_settings(**chosen)
    return _read_once(frozenset(pair for pair in os.environ.items() if pair[0] != "PYTEST_CURRENT_TEST"))


@cache
def _read_once(variables: frozenset[tuple[str, str]]) -> Settings:
    return read_settings()


def keep_default_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `enqueue` use the connections that it had in the tests before."""
    monkeypatch.setattr("dispatcher.producer.read_settings", settings_now)
    monkeypatch.setattr("dispatcher.producer.Producer", _producer_for)


def _producer_for(settings: Settings) -> Producer:
    if settings not in _producers:
        _producers[settings] = Producer(settings)
    return _producers[settings]


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
    for settings in [made for made in _producers if made != but]:
        _producers.pop(settings).close()
    for kept in (*_made.values(), *_producers.values()):  # what holds for some seconds
        kept.nearest_types.clear()
        kept.nearest_looks.clear()
        kept.kept.pop(Recent, None)
        kept.kept.pop(Looks, None)
    for producer in _producers.values():
        _begin_anew(producer)
    if but is None:
        for engine in (*_loop_engines.values(), *(engine for pair in _engines.values() for engine in pair)):
            engine.dispose()
        _loop_engines.clear()
        _engines.clear()
    if default_producer.cache_info().currsize and default_producer() not in _producers.values():
        default_producer().close()
    default_producer.cache_clear()
    _chosen.clear()


def _begin_anew(producer: Producer) -> None:
    """As `close` does, but its connections stay."""
    producer.kept.clear()
    producer.installation_id = None
    while producer.on_close:
        producer.on_close.pop()()
    if producer.waker._presence._away:
        producer.waker = Waker(producer.settings.broker_url.get_secret_value())
