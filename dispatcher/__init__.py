"""Self-hosted webhook delivery: `enqueue` a message event, and every subscribed webhook gets it.

from dispatcher import enqueue
enqueue("message.inbound.received", {"id": "4023457654", "body": "Yes"}, account="acme")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dispatcher.version import __version__ as __version__

if TYPE_CHECKING:
    from dispatcher.errors import (
        AccountSuspended,
        ConfigurationError,
        DispatcherError,
        InvalidEvent,
        InvalidInput,
        KeyReused,
        NotFound,
        TooBusy,
        Unavailable,
        UnknownAccount,
        WrongDatabase,
    )
    from dispatcher.events.aenqueue import aenqueue
    from dispatcher.events.enqueue import enqueue, enqueue_many, wake_workers
    from dispatcher.events.event import Accepted, Event, Refused
    from dispatcher.producer import Producer, configure
    from dispatcher.settings import Settings

__all__ = [
    "Accepted",
    "AccountSuspended",
    "ConfigurationError",
    "DispatcherError",
    "Event",
    "InvalidEvent",
    "InvalidInput",
    "KeyReused",
    "NotFound",
    "Producer",
    "Refused",
    "Settings",
    "TooBusy",
    "Unavailable",
    "UnknownAccount",
    "WrongDatabase",
    "aenqueue",
    "configure",
    "enqueue",
    "enqueue_many",
    "wake_workers",
]

# What is not an error. Loaded when it is first asked for: SQLAlchemy and Celery take most of a second, and all that is
# below this package, the command line's help too, would wait for them.
_PLACES = {
    "Accepted": "events.event",
    "Event": "events.event",
    "Producer": "producer",
    "Refused": "events.event",
    "Settings": "settings",
    "aenqueue": "events.aenqueue",
    "configure": "producer",
    "enqueue": "events.enqueue",
    "enqueue_many": "events.enqueue",
    "wake_workers": "events.enqueue",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value
