"""Whatever is given as an event is refused with its field's name, or its message is kept to the byte."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import InvalidEvent
from dispatcher.events.event import MAX_DATA_BYTES, Event, check, content_digest, serialise
from tests import hostile_values
from tests.each import each
from tests.hostile_values import refusal

# Of any kind that Python has, so also what JSON has no form for.
_ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**5000), 10**5000)
    | st.floats()
    | st.text(st.characters())  # lone surrogates too
    | st.binary(max_size=5)
    | st.just(object()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4),
    max_leaves=10,
)


def same(value: Any) -> Any:
    """A value as JSON has it: names are strings (of two alike the last one counts), and -0.0 is not 0."""
    match value:
        case dict():
            return {str(name): same(inner) for name, inner in value.items()}
        case list():
            return [same(inner) for inner in value]
        case float():
            return repr(value)
        case _:
            return value


@each("data", hostile_values.JSON.values())
def test_ready_json_is_kept_to_the_byte(data: bytes) -> None:
    assert serialise(data) == data


@each("data", hostile_values.NO_JSON.values())
def test_what_is_no_json_is_refused_and_not_repeated(data: bytes) -> None:
    with pytest.raises(InvalidEvent) as refused:
        serialise(data)
    assert refused.value.field == "data"
    assert len(str(refused.value)) < 120
    assert not hostile_values.steering(str(refused.value), allowed="")


@each("text", hostile_values.TEXTS.values())
def test_a_text_is_kept_wherever_it_stands(text: str) -> None:
    data = {text: [text, {text: text}]}
    assert json.loads(serialise(data)) == data
    assert json.dumps(text, ensure_ascii=False).encode() in serialise(data)  # in UTF-8, not in escapes


@given(_ANY)
def test_any_value_is_refused_or_comes_back_as_it_was(data: Any) -> None:
    refused = refusal(serialise, data)
    if refused is not None:
        assert refused.field == "data"
    elif isinstance(data, bytes):
        assert serialise(data) == data
    else:
        assert same(json.loads(serialise(data))) == same(data)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,0123456789eE+-.truefalsn \\', max_size=40).map(str.encode))
def test_any_bytes_are_refused_or_taken_as_they_are(data: bytes) -> None:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(data.decode(), parse_constant=refuse)
        valid = True
    except ValueError:
        valid = False
    assert (refusal(serialise, data) is None) == valid
    assert not valid or serialise(data) == data


class _Odd(dict[Any, Any]):
    """A member of it that comes again is the same object."""


_SHARED: list[Any] = [1]
_CIRCLE: dict[str, Any] = {"items": [0, 1]}
_CIRCLE["items"].append({"back": _CIRCLE})


@each(
    "data, told",
    [
        ({"items": [0, 1, 2, {"price": Decimal(1)}]}, "data.items[3].price: Decimal has no JSON form"),
        (Decimal(1), "data: Decimal has no JSON form"),
        ((1, [datetime.now(UTC)]), "data[1][0]: datetime has no JSON form"),
        (MappingProxyType({}), "data: mappingproxy has no JSON form"),
        ({"a": b"x", "b": object()}, "data.a: bytes has no JSON form"),
        ({"a": {"b": {1, 2}}}, "data.a.b: set has no JSON form"),
        (_Odd(a=[float("nan")]), "data.a[0]: NaN has no JSON form"),
        ({"a": -float("inf")}, "data.a: Infinity has no JSON form"),
        ({"a": 10**4300}, "data.a: an `int` of over 4,300 digits has no JSON form"),
        ({"a": ["b", "\ud800"]}, "data.a[1]: a lone surrogate has no JSON form"),
        (
            {"a": [_SHARED, _SHARED, _SHARED[0], _CIRCLE]},
            "data.a[3].items[2].back: a circular reference has no JSON form",
        ),
        ({"a": {(1, 2): 1}}, "data.a: a member's name that is a tuple has no JSON form"),
        ({"a": {"\ud800": 1}}, "data.a: a member's name that is a lone surrogate has no JSON form"),
        ({"a": {1.5: 0, float("nan"): 1}}, "data.a: a member's name that is NaN has no JSON form"),
        ({"+27 82 123": {"x\x1b[2J": {7: {"a" * 41: set()}}}}, "data.*.*.*.*: set has no JSON form"),
        ([[{"abc" * 12: {"def" * 13: {"ghi" * 13: {"jkl" * 13: set()}}}}]], None),
    ],
)
def test_what_has_no_json_form_is_told_by_its_path_and_type_and_never_by_its_value(data: Any, told: str | None) -> None:
    with pytest.raises(InvalidEvent) as refused:
        serialise(data)
    assert (refused.value.field, str(refused.value)) == ("data", f"{refused.value.path}: {refused.value.reason}")
    assert len(str(refused.value)) < 170
    assert told is None or str(refused.value) == told


def test_an_int_that_python_does_not_write_is_refused_in_words_of_ours() -> None:
    with pytest.raises(InvalidEvent, match="over 4,300 digits"):
        serialise({"id": 10**4300})
    assert serialise(10**4299) == b"1" + b"0" * 4299


def test_too_much_is_refused_however_it_is_written() -> None:
    for data in (b" " * MAX_DATA_BYTES + b"1", "\u20ac" * (MAX_DATA_BYTES // 3 + 1), b"1" * (MAX_DATA_BYTES + 1)):
        with pytest.raises(InvalidEvent, match="bytes long"):
            serialise(data)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **{
                name: st.none() | st.text(st.characters(), max_size=300) | st.integers()
                for name in ("account", "app", "subject", "idempotency_key", "type")
            },
            **{
                name: st.datetimes(timezones=st.none() | st.timezones()) | st.text()
                for name in ("occurred_at", "expires_at")
            },
        },
    )
)
def test_any_fields_are_refused_by_name_or_can_be_stored(fields: dict[str, Any]) -> None:
    event = Event(**{"type": "message.sent", "data": None, "account": "acme", **fields})
    refused = refusal(check, event)
    if refused is not None:
        assert refused.field in fields
        return
    for text in (event.account, event.app, event.subject, event.idempotency_key):
        assert text is None or (0 < len(text) <= 255 and "\0" not in text and text.encode().decode() == text)
    for moment in (event.occurred_at, event.expires_at):
        assert moment is None or moment.astimezone(UTC)
    assert content_digest(event, b"1") == content_digest(event, b"1") != content_digest(event, b"2")


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=2, max_size=2))
def test_events_that_differ_have_digests_that_differ(texts: list[str | None]) -> None:
    first, second = texts
    one = Event(type="a", data=None, account="acme", app=first, subject=second)
    other = Event(type="a", data=None, account="acme", app=second, subject=first)
    assert (content_digest(one, b"") == content_digest(other, b"")) == (first == second)
    later = Event(type="a", data=None, account="acme", app=first, subject=second, expires_at=datetime.now(UTC))
    assert content_digest(one, b"") != content_digest(later, b"")
