"""JSON text taken apart without changing it: numbers keep their digits, members their order and their bytes."""

import json
import re
import sys
from collections.abc import Callable
from typing import NoReturn

_SPACE = re.compile(r"[ \t\n\r]*")
_COLON = re.compile(r"[ \t\n\r]*+:[ \t\n\r]*+")
_COMMA_OR_END = re.compile(r"[ \t\n\r]*+([,}])[ \t\n\r]*+")
# What is not white space outside of strings.
_KEPT = re.compile(r'(?:[^" \t\n\r]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")++')
# An escape that may be needless, or some that are needed.
_ESCAPES = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\(?:u....|/)|(?:\\[^u/])++")
_NEEDED = {code: json.dumps(chr(code))[1:-1] for code in (*range(0x20), 0x22, 0x5C)}  # as JavaScript writes them
_PAIR = 12  # characters of an escape of two halves


class TooMany(LookupError):
    """A list has more elements than are wanted."""


def object_members(text: str, *, most: int = sys.maxsize) -> dict[str, str]:
    """The members of a JSON object: name -> the value's own text, in order.

    Raises ValueError for anything but a JSON object, for NaN and infinities, for a name that occurs twice, and at the
    first member more than `most`.
    """
    return _members(text, most, lambda _, position: _value_end(text, position))


def list_in_object(text: str, name: str, most: int) -> list[str]:
    """The elements of the list with this name in a JSON object: each one's own text, in order; empty if it is missing,
    or no list. Raises as `object_members`; KeyError at a member of another name; TooMany at the first element more than
    `most`. What follows these is not read."""
    elements: list[str] = []

    def value_end(member: str, position: int) -> int:
        if member != name:
            raise KeyError(member)
        if text[position : position + 1] != "[":
            return _value_end(text, position)
        return _read_elements(text, position, most, elements)

    _members(text, sys.maxsize, value_end)
    return elements


def _members(text: str, most: int, value_end: Callable[[str, int], int]) -> dict[str, str]:
    position = _after_space(text, 0)
    if text[position : position + 1] != "{":
        raise ValueError("is not a JSON object")
    members: dict[str, str] = {}
    position = _after_space(text, position + 1)
    if text[position : position + 1] == "}":
        return _ended(text, position + 1, members)
    while True:
        if text[position : position + 1] != '"':
            raise ValueError(f"is not JSON: a name is missing at character {position}")
        if len(members) >= most:
            raise ValueError(f"has more than {most} members")
        name, position = _DECODER.raw_decode(text, position)
        if name in members:
            raise ValueError(f"is ambiguous: a name occurs twice, again before character {position}")
        colon = _COLON.match(text, position)
        if colon is None:
            raise ValueError(f"is not JSON: a colon is missing at character {_after_space(text, position)}")
        start = colon.end()
        position = value_end(name, start)
        members[name] = text[start:position]
        follows = _COMMA_OR_END.match(text, position)
        if follows is None:
            raise ValueError(f"is not JSON: a comma or brace is missing at character {_after_space(text, position)}")
        position = follows.end()
        if follows[1] == "}":
            return _ended(text, position, members)


def _read_elements(text: str, position: int, most: int, elements: list[str]) -> int:
    """Reads the list that begins here; returns where it ends."""
    position = _after_space(text, position + 1)
    if text[position : position + 1] == "]":
        return position + 1
    while True:
        if len(elements) >= most:
            raise TooMany
        end = _value_end(text, position)
        elements.append(text[position:end])
        position = _after_space(text, end)
        match text[position : position + 1]:
            case ",":
                position = _after_space(text, position + 1)
            case "]":
                return position + 1
            case _:
                raise ValueError(f"is not JSON: a comma or bracket is missing at character {position}")


def compact(text: str) -> str:
    """JSON text without the white space between its parts; nothing else changes."""
    return "".join(_KEPT.findall(text))


def stringified(text: str) -> str:
    """JSON text as JavaScript's `JSON.stringify` would write it, as far as that changes no value: without white space,
    strings with only the escapes that they need. Numbers keep their digits, members their order."""
    return _ESCAPES.sub(_as_needed, compact(text))


def _as_needed(found: re.Match[str]) -> str:
    escape = found[0]
    if escape[1] != "u":
        return "/" if escape == r"\/" else escape
    if len(escape) == _PAIR:
        return chr(0x10000 + ((int(escape[2:6], 16) & 0x3FF) << 10) + (int(escape[8:], 16) & 0x3FF))
    code = int(escape[2:6], 16)
    if 0xD800 <= code < 0xE000:  # half of a character
        return escape.lower()
    return _NEEDED.get(code) or chr(code)


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()


def _value_end(text: str, start: int) -> int:
    try:
        return _DECODER.raw_decode(text, start)[1]
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _ended(text: str, position: int, members: dict[str, str]) -> dict[str, str]:
    if _after_space(text, position) != len(text):
        raise ValueError(f"is not JSON: more follows at character {position}")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"is not JSON: {name}")


# Numbers are not converted: `int` would refuse those of more than 4,300 digits.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str)
