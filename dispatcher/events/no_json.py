"""Which part of a message has no JSON form, and where it is. Pure."""

import re
from collections.abc import Iterator
from math import isnan

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")  # a name that is none of a person or a number
_LONGEST_PATH = 120
_DOUBTFUL_BITS = 2_000  # Python writes an int of fewer, whatever limit it was given


def formless(data: object) -> tuple[str, str] | None:
    """The path of the first value that cannot be written, such as `data.items[3].price`, and what it is. None if there
    is none. Members whose names may be data themselves are `*` in the path."""
    parts, inside, above = ["data"], [iter([("", data)])], [0]
    while inside:
        following = next(inside[-1], None)
        if following is None:
            inside.pop(), above.pop(), parts.pop()
            continue
        part, value = following
        what = "a circular reference" if id(value) in above else _formless(value)
        if what:
            return _path([*parts, part]), what
        if isinstance(value, dict | list | tuple):
            inside.append(_values(value))
            above.append(id(value))
            parts.append(part)
    return None


def _values(value: dict[object, object] | list[object] | tuple[object, ...]) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (f".{name}" if isinstance(name, str) and _PLAIN.fullmatch(name) else ".*"), inner
    else:
        for place, inner in enumerate(value):
            yield f"[{place}]", inner


def _formless(value: object) -> str | None:  # noqa: PLR0911 - one for each type
    match value:
        case dict():
            return next((f"a member's name that is {what}" for what in map(_no_name, value) if what), None)
        case None | bool() | list() | tuple():
            return None
        case str():
            return None if _is_utf8(value) else "a lone surrogate"
        case int():
            return None if _is_written(value) else "an `int` of over 4,300 digits"
        case float():
            if value - value == 0:
                return None
            return "NaN" if isnan(value) else "Infinity"
        case _:
            return ascii(type(value).__name__)[1:-1][:60]


def _no_name(name: object) -> str | None:
    """What a member's name is, if none can be written so."""
    if isinstance(name, list | tuple | dict):
        return f"a {type(name).__name__}"
    return _formless(name)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_written(number: int) -> bool:
    try:
        return number.bit_length() < _DOUBTFUL_BITS or bool(str(number))
    except ValueError:
        return False


def _path(parts: list[str]) -> str:
    path = "".join(parts)
    return path if len(path) <= _LONGEST_PATH else f"data…{path[-_LONGEST_PATH:]}"
