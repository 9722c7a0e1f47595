"""For the tests of programs that enqueue events or receive callbacks. No database, broker or network is needed.

pytest has the fixtures `enqueued` and `webhook_receiver`; `collecting` and `WebhookReceiver` are the same without it.
`signed_request` makes requests as the engine sends them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dispatcher.testing.enqueued import Enqueued, EnqueuedEvent, collecting
    from dispatcher.testing.receiver import Answer, Callback, WebhookReceiver
    from dispatcher.testing.signed import (
        BULKSMS,
        EVERLYTIC,
        FLEXENGAGE,
        NATIVE,
        SINCH,
        ZIPWHIP,
        Shape,
        SignedRequest,
        signed_request,
    )

__all__ = [
    "BULKSMS",
    "EVERLYTIC",
    "FLEXENGAGE",
    "NATIVE",
    "SINCH",
    "ZIPWHIP",
    "Answer",
    "Callback",
    "Enqueued",
    "EnqueuedEvent",
    "Shape",
    "SignedRequest",
    "WebhookReceiver",
    "collecting",
    "signed_request",
]

# Loaded when they are first asked for: pytest loads the plugin beside them in each run.
_PLACES = {
    **dict.fromkeys(("Answer", "Callback", "WebhookReceiver"), "receiver"),
    **dict.fromkeys(("Enqueued", "EnqueuedEvent", "collecting"), "enqueued"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES.get(name, 'signed')}"), name)
    globals()[name] = value
    return value
