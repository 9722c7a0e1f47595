"""Documents as types: what is known has its type, what is new is let through, and nothing given is repeated."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import pytest

from dispatcher.client.decoding import decode
from tests.each import each

ID = "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"


@dataclass(frozen=True)
class Taken:
    """One of two."""

    id: UUID
    status: Literal["taken"]


@dataclass(frozen=True)
class Refused:
    """The other."""

    status: Literal["refused"]
    reasons: list[str]
    secret: str = field(repr=False)


def test_ids_and_times_have_types_of_their_own() -> None:
    assert decode(UUID, ID) == UUID(ID)
    assert decode(datetime, "2026-03-02T09:15:00.127000Z") == datetime(2026, 3, 2, 9, 15, 0, 127_000, UTC)


@each(
    "kind, value",
    [
        (str, "a"),
        (int, 9_007_199_254_740_993),
        (float, 1),
        (float, 1.5),
        (bool, False),
        (None, None),
        (str | None, None),
        (str | int | None, 7),
        (Literal["a", "b"] | None, "b"),
        (Any, [{"a": None}]),
        (dict[str, int | None], {"a": 1, "b": None}),
        (list[str], ["a"]),
    ],
)
def test_what_json_has_stays_as_it_is(kind: Any, value: object) -> None:
    assert decode(kind, value) == value


def test_a_value_of_an_enumeration_and_a_member_that_are_new_are_let_through() -> None:
    assert decode(Literal["a"], "b") == "b"
    given = {"id": ID, "status": "taken", "new": 1}
    assert decode(Taken, given) == Taken(UUID(ID), "taken")


def test_a_member_that_is_missing_is_null_where_it_may_be() -> None:
    @dataclass(frozen=True)
    class Thing:
        name: str | None

    assert decode(Thing, {}) == Thing(None)


def test_of_several_types_the_one_that_fits_is_taken() -> None:
    refused = {"status": "refused", "reasons": ["r"], "secret": "planted"}
    found = decode(list[Taken | Refused], [{"id": ID, "status": "taken"}, refused])
    assert found == [Taken(UUID(ID), "taken"), Refused("refused", ["r"], "planted")]
    assert "planted" not in repr(found)


def test_parts_of_fixed_number_are_a_tuple() -> None:
    assert decode(tuple[str, int], ["a", 1]) == ("a", 1)


@each(
    "kind, value, said",
    [
        (UUID, "planted", "the document is no UUID"),
        (datetime, "planted", "the document is no datetime"),
        (int, "planted", "the document has another type"),
        (int, True, "the document has another type"),
        (str, None, "the document has another type"),
        (str | None, 1, "the document has another type"),
        (Taken, ["planted"], "the document has another type"),
        (Taken, {"id": "planted", "status": "taken"}, "the document.id is no UUID"),
        (Taken, {"id": ID}, "the document.status has another type"),
        (list[int], [1, "planted"], r"the document\[\] has another type"),
        (dict[str, int], {"a": "planted"}, r"the document\.\* has another type"),
        (tuple[str, int], ["planted"], "the document has another type"),
    ],
)
def test_what_has_another_type_is_refused_by_its_place_alone(kind: Any, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        decode(kind, value)
