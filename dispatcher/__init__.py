"""Self-hosted webhook delivery: `enqueue` a message event, and every subscribed webhook gets it.

from dispatcher import enqueue
enqueue("message.inbound.received", {"id": "4023457654", "body": "Yes"}, account="acme")
"""

from dispatcher.errors import (
    ConfigurationError,
    DispatcherError,
    InvalidEvent,
    InvalidInput,
    KeyReused,
    NotFound,
    UnknownAccount,
    WrongDatabase,
)
from dispatcher.events.enqueue import enqueue, enqueue_many
from dispatcher.events.event import Accepted, Event, Refused
from dispatcher.producer import Producer
from dispatcher.settings import Settings
from dispatcher.version import __version__ as __version__

__all__ = [
    "Accepted",
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
    "UnknownAccount",
    "WrongDatabase",
    "enqueue",
    "enqueue_many",
]
