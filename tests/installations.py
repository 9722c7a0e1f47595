"""The installations of a test: one for each of the settings that it uses, closed when it ends."""

from dispatcher.installation import Installation
from dispatcher.producer import default_producer
from dispatcher.settings import Settings
from workers.process import Worker

_made: dict[Settings, Installation] = {}
_workers: list[Worker] = []


def installation_for(settings: Settings) -> Installation:
    """The installation with these settings, the same one for the whole test."""
    if settings not in _made:
        _made[settings] = Installation(settings)
    return _made[settings]


def worker_for(settings: Settings) -> Worker:
    """A new worker, as a child has one."""
    _workers.append(Worker(installation_for(settings)))
    return _workers[-1]


def close_installations() -> None:
    """After a test: nothing of it is left for the next."""
    while _workers:
        _workers.pop().close()
    while _made:
        _made.popitem()[1].close()
    if default_producer.cache_info().currsize:
        default_producer().close()
    default_producer.cache_clear()
