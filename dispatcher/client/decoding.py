"""JSON values as the types that the API's documents have. Pure."""

import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

_READ: dict[Any, Callable[[str], Any]] = {UUID: UUID, datetime: datetime.fromisoformat}


def decode(kind: Any, value: Any, place: str = "the document") -> Any:
    """The value as this type. Members and values of enumerations that are not known are let through: a newer API may
    have more. Raises ValueError naming the place of what has another type; it does not repeat the value."""
    match get_origin(kind), value:
        case origin, _ if origin in {types.UnionType, Union}:
            found = _first_that_fits(get_args(kind), value, place)
        case origin, list() if origin is list:
            found = [decode(get_args(kind)[0], item, f"{place}[]") for item in value]
        case origin, list() if origin is tuple and len(value) == len(get_args(kind)):
            found = tuple(decode(one, item, f"{place}[]") for one, item in zip(get_args(kind), value, strict=True))
        case origin, dict() if origin is dict:
            found = {name: decode(get_args(kind)[1], item, f"{place}.*") for name, item in value.items()}
        case None, dict() if isinstance(kind, type) and is_dataclass(kind):
            # A member that an older API does not have is null, where it may be.
            found = kind(
                **{one.name: decode(one.type, value.get(one.name), f"{place}.{one.name}") for one in fields(kind)}
            )
        case _:
            found = _plain(kind, value, place)
    return found


def _first_that_fits(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    refusals = []
    for kind in kinds:
        try:
            return decode(kind, value, place)
        except ValueError as error:
            refusals.append(error)
    raise refusals[0]


def _plain(kind: Any, value: Any, place: str) -> Any:
    if kind in _READ and isinstance(value, str):
        try:
            return _READ[kind](value)
        except ValueError:
            raise ValueError(f"{place} is no {kind.__name__}") from None
    is_new = get_origin(kind) is Literal and isinstance(value, str | int)
    is_null = value is None and kind in {None, types.NoneType}
    if is_new or is_null or kind is Any or type(value) is kind or (kind is float and type(value) is int):
        return value
    raise ValueError(f"{place} has another type")
