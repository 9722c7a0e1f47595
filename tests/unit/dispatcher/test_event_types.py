import string
from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.event_types import (
    ALL,
    MESSAGE_TYPES,
    is_event_type,
    misspelt_types,
    nearest_types,
    subscriptions_taking,
)
from tests.each import each

_WORDS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=10)
PARTS = st.lists(_WORDS, min_size=1, max_size=8)


@pytest.mark.parametrize("name", ["a", "message.inbound.received", "A-b_1", ".".join("abcdefgh"), "x" * 200])
def test_dotted_parts_are_an_event_type(name: str) -> None:
    assert is_event_type(name)


@each("name", ["", ".", "a.", ".a", "a..b", "a b", "ä", "a\n", "*", "a.*", ".".join("abcdefghi"), "x" * 201, None, 7])
def test_anything_else_is_not(name: object) -> None:
    assert not is_event_type(name)


def test_a_prefix_takes_whole_parts_only() -> None:
    assert subscriptions_taking("message.inbound.received") == [
        "*",
        "message",
        "message.inbound",
        "message.inbound.received",
    ]


@given(st.text(st.characters(), max_size=30) | st.text("ab-_.*/ \n", max_size=30))
def test_a_name_is_an_event_type_exactly_if_each_of_its_parts_is_a_plain_word(name: str) -> None:
    parts = name.split(".")
    plain = set(string.ascii_letters + string.digits + "-_")
    assert is_event_type(name) == (len(parts) <= 8 and all(part and set(part) <= plain for part in parts))


@given(PARTS, st.lists(PARTS.map(".".join) | st.just(ALL), max_size=6))
def test_the_subscriptions_that_take_an_event_are_those_of_the_plain_rule(event: list[str], wishes: list[str]) -> None:
    name = ".".join(event)
    taking = subscriptions_taking(name)
    for wish in [*wishes, *(".".join(event[:length]) for length in range(1, len(event) + 1)), name + "x", name[:-1]]:
        assert (wish in taking) == (wish == ALL or f"{name}.".startswith(f"{wish}."))
    assert len(taking) == len(set(taking)) == len(event) + 1


@given(PARTS, PARTS)
def test_a_subscription_takes_an_event_exactly_if_its_parts_begin_the_events(event: list[str], wish: list[str]) -> None:
    taken = ".".join(wish) in subscriptions_taking(".".join(event))
    assert taken == (event[: len(wish)] == wish)


@pytest.mark.parametrize(
    ("event_type", "subscriptions", "nearest"),
    [
        ("message.inbound.recieved", ["message.inbound.received", "orders"], "message.inbound.received"),
        ("mesage.inbound.received", ["message", "orders"], "message"),  # compared with as many parts as it has
        ("Message.Outbound.Sent", ["message.outbound.sent", "message.outbound.failed"], "message.outbound.sent"),
        ("message.sent", ["optout.change"], "message.outbound.sent"),  # of the catalogue
        ("invoice.paid", ["message"], None),
    ],
)
def test_the_nearest_types_are_those_that_are_spelt_alike(
    event_type: str, subscriptions: list[str], nearest: str | None
) -> None:
    assert next(iter(nearest_types(event_type, subscriptions)), None) == nearest


@given(PARTS.map(".".join), st.lists(PARTS.map(".".join), max_size=12))
def test_there_are_at_most_three_nearest_and_none_is_made_up(name: str, subscriptions: list[str]) -> None:
    nearest = nearest_types(name, subscriptions)
    assert len(nearest) == len(set(nearest)) <= 3
    assert set(nearest) <= set(subscriptions) or set(nearest) <= MESSAGE_TYPES.keys()


def test_all_message_types_are_event_types() -> None:
    assert all(map(is_event_type, MESSAGE_TYPES))


def test_however_many_types_customers_choose_few_are_compared_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exact comparison of two long names can take milliseconds: customers must not choose how many are made."""
    compared = []

    class Counted(SequenceMatcher[str]):
        def ratio(self) -> float:
            compared.append((self.a, self.b))
            return super().ratio()

    monkeypatch.setattr("dispatcher.event_types.SequenceMatcher", Counted)
    names = [f"{'ab' * 90}{number:03}" for number in range(100)]
    assert nearest_types("ba" * 95, names)
    assert len(compared) <= 5
    assert max(len(text) for pair in compared for text in pair) <= 64


@pytest.mark.parametrize(
    ("event_type", "meant"),
    [
        ("mesage.outbound.sent", "message.outbound.sent"),
        ("message.outbuond.snet", "message.outbound.sent"),
        ("message.outbound.deliverred", "message.outbound.delivered"),
        ("Message.Outbound.Sent", "message.outbound.sent"),
        ("messages.outbound", "message.outbound"),  # a prefix
        ("order.created", "orders.created"),  # of a webhook
        ("ordres", "orders"),
    ],
)
def test_a_type_with_one_slip_a_part_is_taken_for_a_misspelling(event_type: str, meant: str) -> None:
    assert misspelt_types(event_type, ["orders.created", "step1.done", "*"]) == (meant,)


@pytest.mark.parametrize(
    "event_type",
    [
        "message.outbound.sent",
        "message",
        "orders",
        "*",
        "message.outbound.seen",
        "message.outbound.sent.twice",
        "step2.done",
        "a.b",
        "invoice.paid",
    ],
)
def test_a_type_that_is_known_or_differs_more_is_taken_as_it_is(event_type: str) -> None:
    assert misspelt_types(event_type, ["orders.created", "step1.done", "a.c"]) == ()


@given(PARTS.map(".".join), st.lists(PARTS.map(".".join), max_size=12))
def test_what_is_known_is_never_taken_for_a_misspelling(name: str, others: list[str]) -> None:
    assert misspelt_types(name, [*others, name]) == ()
