"""The accounts of a suite, and more load for the moment of a fault."""

import time
from contextlib import suppress

from dispatcher import Unavailable
from tests.faults.kinds import SHOPS, STEADY, furnish_shops
from tests.faults.ledgers import Role
from tests.faults.rig import Rig

AGAIN, MOODY, SLOW, MAILS = "again", "moody", "slow", "mails"
STEADY_ACCOUNTS = (
    *(f"{Role.STEADY}:{name}" for name in (*SHOPS, SLOW)),
    f"{Role.RETRIED}:{AGAIN}",
    f"{Role.MOODY}:{MOODY}",
)
SCHEDULES = {"/again/again": "doubling", "/moody/moody": "doubling"}  # path -> schedule, if not the default one
_BURST, _BEFORE = 60, 0.25  # events; seconds: until some of them are in flight


def furnish(rig: Rig) -> None:
    """Makes the accounts and their webhooks."""
    furnish_shops(rig)
    for name in (AGAIN, MOODY, SLOW, MAILS):
        rig.make_account(name)
    rig.register(AGAIN, "/again/again", STEADY, contract={"schedule": "doubling", "circuit_breaker": False})
    origin = f"http://127.0.0.1:{rig.moody.port}"
    rig.register(MOODY, "/moody/moody", STEADY, origin=origin, contract={"schedule": "doubling"})
    rig.register(SLOW, "/slow/400/slow", STEADY)


def burst(rig: Rig) -> None:
    """Sends events to a receiver that takes a moment, so that requests are in flight when this returns."""
    with suppress(Unavailable):  # another fault of a mix
        for _ in range(_BURST):
            rig.send(Role.STEADY, SLOW, STEADY)
    time.sleep(_BEFORE)
