"""For receivers of callbacks: check that a callback is genuine, and take each message once. Needs Python alone.

    from dispatcher.verify import Verifier
    callback = Verifier("whsec_...").verify(request.headers, request.body)  # raises VerificationError

`Receiver` does all that a receiver should do. `dispatcher.verify.fastapi`, `.flask` and `.django` put it behind a
route.
"""

from dispatcher.errors import (
    HandOverFailed,
    InvalidKey,
    NotSigned,
    UnreadableBody,
    VerificationError,
    WrongSignature,
    WrongTime,
)
from dispatcher.verify.receiver import MAX_BODY, Answer, Receiver, RecentIds, SeenIds
from dispatcher.verify.verifier import Callback, Headers, Verifier

__all__ = [
    "MAX_BODY",
    "Answer",
    "Callback",
    "HandOverFailed",
    "Headers",
    "InvalidKey",
    "NotSigned",
    "Receiver",
    "RecentIds",
    "SeenIds",
    "UnreadableBody",
    "VerificationError",
    "Verifier",
    "WrongSignature",
    "WrongTime",
]
