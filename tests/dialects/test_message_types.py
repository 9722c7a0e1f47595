"""The catalogue of message types contains exactly what the webhooks of dialects take."""

from dispatcher.dialects.bulksms import fields as bulksms
from dispatcher.dialects.everlytic import fields as everlytic
from dispatcher.dialects.sinch import fields as sinch
from dispatcher.dialects.zipwhip import fields as zipwhip
from dispatcher.event_types import MESSAGE_TYPES, subscriptions_taking


def test_each_message_type_is_taken_by_a_dialect_and_no_dialect_takes_another() -> None:
    groups = [*zipwhip.EVENT_TYPES.values(), *sinch._EVENT_TYPES.values(), tuple(everlytic.EVENT_TYPES.values())]
    taken = {name for group in groups for name in group if name.startswith("message.")}
    assert taken == MESSAGE_TYPES.keys()
    prefixes = {prefix for name in MESSAGE_TYPES for prefix in subscriptions_taking(name)}
    assert set(bulksms.EVENT_TYPES.values()) <= prefixes
