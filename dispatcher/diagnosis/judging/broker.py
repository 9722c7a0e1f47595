"""Pure. Whether the broker keeps what it is given, and answers at once."""

from typing import NamedTuple

from dispatcher.diagnosis.findings import Finding, Level, amount, fail, ok, warn, within

SLOW_ANSWER = 0.05, 1.0  # seconds
FULL = 0.8, 0.95  # of its memory


def answers(version: str, seconds: float) -> Finding:
    says = f"{version} takes writes, and answers in {seconds * 1000:.1f} ms"
    level = within(seconds, *SLOW_ANSWER)
    return ok(says) if level is Level.OK else Finding(level, says, "look at its load and at the network between")


class Memory(NamedTuple):
    """What the broker says of its memory. `most`: bytes; 0: no limit."""

    policy: str
    used: int
    most: int


def memory(found: Memory) -> list[Finding]:
    bad = []
    if found.policy != "noeviction":
        says = f"maxmemory-policy is {found.policy}: it may throw wakes and rings away"
        advice = "set maxmemory-policy noeviction, in its file, too"
        bad.append(fail(says, advice) if found.most else warn(f"{says} once maxmemory is set", advice))
    says = f"{amount(found.used)} of memory are used"
    if found.most:
        says = f"{amount(found.used)} of {amount(found.most)} of memory are used"
        if (level := within(found.used / found.most, *FULL)) is not Level.OK:
            bad.append(Finding(level, says, "a full broker takes no wakes: see what fills it, or raise maxmemory"))
    return bad or [ok(f"noeviction; {says}")]
