"""Event types, and which subscriptions take them: exact names and prefixes of whole dotted parts. Pure."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import takewhile, zip_longest

ALL = "*"
TEST = "webhook.test"  # of a test event, unless its sender says otherwise: it is for one webhook alone
MAX_PARTS = 8
MAX_LENGTH = 200

_PART = r"[A-Za-z0-9_-]+"
PATTERN = rf"{_PART}(?:\.{_PART}){{0,{MAX_PARTS - 1}}}"
_TYPE = re.compile(PATTERN)

# What happens to a message, each with when: what the webhooks of dialects take, and what all examples use. Any other
# name is an event type, too.
MESSAGE_TYPES = {
    "message.inbound.received": "a message was received",
    "message.inbound.read": "a received message was read",
    "message.inbound.deleted": "a received message was deleted",
    "message.outbound.accepted": "a message was taken, to be sent",
    "message.outbound.sent": "a message was sent",
    "message.outbound.progress": "a message is on its way, and something is known of it",
    "message.outbound.delivered": "a message arrived",
    "message.outbound.failed": "a message cannot be delivered",
    "message.outbound.bounced": "a message was returned",
    "message.outbound.deleted": "a message that was sent was deleted",
}
MAX_NEAREST = 3
_NEAR = 0.6  # of two names, how much is alike: 1 is the same name
_COMPARED, _COMPARED_LENGTH = 5, 64  # names that are compared exactly; characters of each

_SHORTEST_MISSPELT = 4  # characters; of shorter words too many differ in one

RULE = f"must be dotted parts of letters, digits, '_' and '-': at most {MAX_PARTS} parts, {MAX_LENGTH} characters"


def is_event_type(name: object) -> bool:
    """Whether this can be an event's type, or the prefix that a webhook subscribes to."""
    return isinstance(name, str) and len(name) <= MAX_LENGTH and _TYPE.fullmatch(name) is not None


def subscriptions_taking(event_type: str) -> list[str]:
    """Every subscription that takes an event of this type: `*`, each prefix of whole parts, the type itself."""
    parts = event_type.split(".")
    return [ALL, *(".".join(parts[:length]) for length in range(1, len(parts) + 1))]


def nearest_types(event_type: str, subscriptions: Iterable[str]) -> tuple[str, ...]:
    """What a type that none of these subscriptions takes was probably to be: the subscriptions with the most similar
    spelling; where none is similar, message types of the catalogue. The nearest first, 3 at most."""
    return _nearest(event_type, subscriptions) or _nearest(event_type, MESSAGE_TYPES)


def misspelt_types(event_type: str, known: Iterable[str]) -> tuple[str, ...]:
    """What a type of no webhook and not of the catalogue is probably a misspelling of: the known types, and the
    prefixes of known types, that differ from it in case or by one character a part. Empty if it is known itself."""
    names = {taking for name in (*MESSAGE_TYPES, *known) for taking in subscriptions_taking(name)}
    if event_type in names:
        return ()
    return tuple(sorted(name for name in names if _is_misspelt(event_type, name))[:MAX_NEAREST])


def _is_misspelt(event_type: str, name: str) -> bool:
    pairs = list(zip_longest(event_type.lower().split("."), name.lower().split("."), fillvalue=""))
    return all(one == other or _differ_in_one(one, other) for one, other in pairs)


def _differ_in_one(one: str, other: str) -> bool:
    """Whether one character is missing, added, replaced, or two neighbours are exchanged. Words with digits are left
    out: `v1` and `v2` are meant."""
    if min(len(one), len(other)) < _SHORTEST_MISSPELT or any(map(str.isdigit, one + other)):
        return False
    beginning = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    one, other = one[beginning:], other[beginning:]
    exchanged = one[:2] == other[1::-1] and one[2:] == other[2:]
    return exchanged or one[1:] == other[1:] or one[1:] == other or one == other[1:]


def _nearest(event_type: str, names: Iterable[str]) -> tuple[str, ...]:
    matchers = {name: _matcher(event_type, name) for name in names}
    # An exact comparison can take milliseconds, and customers choose the names: only the most promising are compared.
    promising = sorted(matchers, key=lambda name: (-matchers[name].quick_ratio(), name))[:_COMPARED]
    likeness = {name: matchers[name].ratio() for name in promising}
    near = [name for name in sorted(likeness, key=lambda name: (-likeness[name], name)) if likeness[name] >= _NEAR]
    return tuple(near[:MAX_NEAREST])


def _matcher(event_type: str, name: str) -> SequenceMatcher[str]:
    """Of a name and as many parts of the type as it has: a subscription is compared with what it would take."""
    beginning = ".".join(event_type.split(".")[: name.count(".") + 1])
    return SequenceMatcher(None, name[:_COMPARED_LENGTH].lower(), beginning[:_COMPARED_LENGTH].lower(), autojunk=False)
