from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from dispatcher.db.arrays import array, arrays


class Word(StrEnum):
    PLAIN = "plain"


def back(database: Engine, kind: str, values: list[Any]) -> list[Any]:
    with database.connect() as connection:
        found = connection.scalar(text(f"SELECT CAST(:literal AS {kind}[])"), {"literal": array(values)})
    return [bytes(value) if kind == "bytea" and value is not None else value for value in found]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", []),
        (
            "text",
            ["", " ", "NULL", "null", "a,b", "{x}", '"', "\\", '\\"', "'", "a\nb\r\t", "ünï", "%s", ":x"],
        ),
        ("text", [None, "x", None]),
        ("integer", [0, -5, 2**31 - 1, None]),
        ("double precision", [0.5, 1e-9, None]),
        ("boolean", [True, False, None]),
        ("uuid", [UUID(int=0), uuid4(), None]),
        ("bytea", [b"", bytes(range(256)), None]),
        ("interval", [timedelta(0), timedelta(days=3, seconds=5, microseconds=7), timedelta(seconds=-1.5), None]),
        ("timestamptz", [datetime(2026, 1, 1, 5, 6, 7, 8, tzinfo=UTC), None]),
        ("timestamptz", [datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-9, minutes=-30)))]),
    ],
)
def test_values_come_back_as_they_went(database: Engine, kind: str, values: list[Any]) -> None:
    assert back(database, kind, values) == values


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", None),
        ("text", "NULL"),
        ("text", "a, b"),
        ("bytea", b"\xff"),
        ("timestamptz", datetime(2026, 1, 1, 5, tzinfo=UTC)),
    ],
)
def test_a_value_that_all_rows_have_comes_back_in_each(database: Engine, kind: str, value: Any) -> None:
    assert back(database, kind, [value] * 3) == [value] * 3


def test_an_enums_member_is_its_value(database: Engine) -> None:
    assert back(database, "text", [Word.PLAIN]) == ["plain"]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_any_text_comes_back_as_it_went(database: Engine, values: list[str]) -> None:
    assert back(database, "text", values) == values


def test_a_text_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        array(["a\0b"])
    with pytest.raises(ValueError, match="NUL"):
        array(["a\0b", "c"])


def test_several_parameters_are_made_at_once() -> None:
    assert arrays({"a": [1, 2], "b": ["x y"]}) == {"a": "{1,2}", "b": '{"x y"}'}
