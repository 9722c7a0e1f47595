"""Whether the loops of a worker stay: those of a node that has nothing else to do.

A parked loop keeps its child. On a node that also takes mails or upkeep, loops end when nothing is due.
"""

from collections.abc import Collection

from dispatcher.wake import DELIVER, QUEUES
from workers.shared_memory import PARKS, told


def decide_to_park(queues: Collection[str]) -> bool:
    """Decides it for a worker that takes from these queues, before it has children; returns whether they stay."""
    parks = set(queues) == {QUEUES[DELIVER]}
    told()[PARKS] = parks
    return parks


def loops_stay() -> bool:
    """What was decided."""
    return told()[PARKS] == 1
