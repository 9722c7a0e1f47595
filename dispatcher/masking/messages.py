"""Hides chosen members of messages wherever a message is shown, and where an answer repeats it.

Pure. What is stored and sent does not change.
"""

import html
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import quote

from dispatcher.masking.forms import SOUGHT, Form, forms, found
from dispatcher.masking.urls import MASK

MIN_CHARACTERS = 4  # characters: shorter values occur in many texts by chance
MOST_VALUES = 500  # of a message: each is sought in some thirty forms

Names: TypeAlias = frozenset[str]

# White space and strings without backtracking: a receiver could craft an answer that is slow to read.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NAME = re.compile(rf"({_STRING})(\s*+:\s*+)?", re.DOTALL)
_WHOLE_STRING = re.compile(_STRING, re.DOTALL)
_BRACKET = re.compile(rf"{_STRING}|[\[\]{{}}]", re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}]*+")
_QUOTED = re.compile(r"[^A-Za-z0-9_.~/-]+")
# A form of one character that was cut: what is left of it would be taken for other characters.
_UNFINISHED = re.compile(
    rb"(?:%[0-9A-Fa-f]?|&#?[0-9A-Za-z]{0,31}"
    rb"|\\(?:u[dD][89abAB][0-9A-Fa-f]{2}(?:\\(?:u[0-9A-Fa-f]{0,3})?)?|u[0-9A-Fa-f]{0,3}|x[0-9A-Fa-f]?)?)\Z"
)
_VALUE = re.compile(rf"({_STRING})(\s*+:)?|-?\d[\d.eE+-]*+", re.DOTALL)


def member_names(listed: str) -> Names:
    """The names in `from, to, ...`, in the form in which they are compared: without regard to case."""
    return frozenset(name.strip().casefold() for name in listed.split(",") if name.strip())


def mask_message(data: bytes, names: Names) -> bytes:
    """The JSON message with `"***"` for the value of each chosen member, of any kind but null, at any depth.
    Everything else keeps its bytes. Nothing recurses, so no depth is too deep."""
    return _encoded(_replaced(_decoded(data), names))


@dataclass(frozen=True, slots=True)
class Hidden:
    """What `names` hide in a message, in the forms in which programs write it: worked out once for all the texts that
    may repeat it. `forms` is None if that is too much to be sought. `begun` are the beginnings of long values, and
    short ones, as most programs write them, sorted."""

    names: Names
    forms: frozenset[Form] | None
    begun: Sequence[str]


def hidden_in(message: bytes | None, names: Names) -> Hidden:
    """What is hidden in a message (None: it is not kept, so nothing of it is known). Values of fewer than
    `MIN_CHARACTERS` are not among it."""
    values = _values(_decoded(message), names) if message is not None else set()
    if len(values) > MOST_VALUES:
        return Hidden(names, None, ())
    values |= {value[1:] for value in values if value[0] == "+"}
    # Where more than these of a value are at the end of a text, `found` finds it.
    begun = spellings((value[: SOUGHT + 1] for value in values), MIN_CHARACTERS)
    return Hidden(names, forms(values, MIN_CHARACTERS), sorted(begun))


def mask_echo(echo: str, hidden: Hidden, *, cut: bool = False) -> str:
    """Masks a foreign text that may repeat a message: what is hidden in it, and JSON members with the names; all of the
    text if too much is hidden. With `cut` the text was cut off, possibly in the middle of a value."""
    if hidden.forms is None:
        return MASK if echo else echo
    for start, end in reversed(list(_members_in_foreign(echo, hidden.names))):
        echo = f'{echo[:start]}"{MASK}"{echo[end:]}'
    data = _encoded(echo)
    if cut and (unfinished := _UNFINISHED.search(data)):
        data = _without(data, hidden.forms, unfinished.start())
    echo = _decoded(_without(data, hidden.forms, len(data)))  # what seems unfinished may be the end of a value
    begun = _begun_at_end(echo, hidden.begun) if cut else 0
    return echo[:-begun] + MASK if begun else echo


def _without(data: bytes, sought: frozenset[Form], most: int) -> bytes:
    """Masks what is found in so many bytes; what comes after them goes with a value that ends there."""
    for begin, end in reversed(found(data[:most], sought)):
        data = data[:begin] + MASK.encode() + data[end if end < most else len(data) :]
    return data


def spellings(values: Iterable[str], least: int) -> set[str]:
    """The values as programs write most of them: as they are, percent-encoded, escaped for JSON and HTML. Forms of
    fewer than `least` characters are left out."""
    found: set[str] = set()
    for value in values:
        for coded in (slashed := _percent_encoded(value), slashed.replace("/", "%2F")):
            found |= {coded, coded.replace("%20", "+")}
        escaped = {json.dumps(value, ensure_ascii=pure)[1:-1] for pure in (True, False)}
        found |= {value, html.escape(value), *escaped, *(text.replace("/", "\\/") for text in escaped)}
    return {form for form in found if len(form) >= least}


def _percent_encoded(value: str) -> str:
    """`quote`, which looks at each character, of only those that it changes: this runs for each webhook of a claim."""
    return _QUOTED.sub(lambda characters: quote(characters[0], errors="replace"), value)


def _replaced(text: str, names: Names) -> str:
    parts, at = [], 0
    for start, end in _members(text, names):
        parts += [text[at:start], f'"{MASK}"']
        at = end
    return "".join([*parts, text[at:]])


def _members(text: str, names: Names) -> Iterator[tuple[int, int]]:
    """Where in JSON the values of chosen members are. Outside strings, a quotation mark begins one."""
    position = 0
    while names and (found := _NAME.search(text, position)):
        position = found.end()
        if found[2] is not None and _text_of(found[1]).casefold() in names:
            start, position = position, _end_of_value(text, position)
            if text[start:position] != "null":
                yield start, position


def _members_in_foreign(text: str, names: Names) -> Iterator[tuple[int, int]]:
    """The same in a text that may contain JSON somewhere, complete or not."""
    position = 0
    while names and (found := _named(names).search(text, position)):
        position = _end_of_value(text, found.end())
        yield found.end(), position


@lru_cache(maxsize=4)
def _named(names: Names) -> re.Pattern[str]:
    return re.compile(rf'"(?:{"|".join(map(re.escape, sorted(names)))})"\s*+:\s*+', re.IGNORECASE)


def _end_of_value(text: str, start: int) -> int:
    """Where a value ends; the end of the text if the value is cut off."""
    match text[start : start + 1]:
        case '"':
            whole = _WHOLE_STRING.match(text, start)
            return whole.end() if whole else len(text)
        case "{" | "[":
            depth = 0
            for found in _BRACKET.finditer(text, start):
                depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(found[0], 0)
                if not depth:
                    return found.end()
            return len(text)
        case _:
            scalar = _SCALAR.match(text, start)
            assert scalar is not None
            return scalar.end()


def _values(text: str, names: Names) -> set[str]:
    """All texts and numbers in the values of chosen members."""
    values: set[str] = set()
    for start, end in _members(text, names):
        for each in _VALUE.finditer(text, start, end):
            if each[1] is None:
                values.add(each[0])
            elif each[2] is None:
                values.add(_text_of(each[1]))
    return {value for value in values if len(value.strip()) >= MIN_CHARACTERS}


def _begun_at_end(text: str, forms: Sequence[str]) -> int:
    """How many of the text's last characters are the beginning of one of these forms, which are sorted, and not all of
    it; 0 if fewer than `MIN_CHARACTERS` are."""
    longest = max(map(len, forms), default=0) - 1
    for length in range(min(longest, len(text)), MIN_CHARACTERS - 1, -1):
        at = bisect_right(forms, end := text[-length:])
        if at < len(forms) and forms[at].startswith(end):
            return length
    return 0


def _text_of(string: str) -> str:
    """The text of a JSON string."""
    return str(json.loads(string, strict=False)) if "\\" in string else string[1:-1]


def _decoded(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
