"""Reads NDJSON, one message per line with its bytes unchanged, and makes events of the lines."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from dispatcher.errors import InvalidEvent
from dispatcher.events.event import MAX_DATA_BYTES, Event
from dispatcher.events.raw_json import object_members

_WHITE_SPACE = b" \t\r\n"
_LONGEST_LINE = MAX_DATA_BYTES + 1024  # some room for white space around the message
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the events of all lines share, and which members of a message hold its subject and key."""

    account: str
    type: str
    app: str | None
    subject_member: str | None
    key_member: str | None

    def event(self, line: bytes) -> Event:
        """Raises InvalidEvent for a line that does not have the members asked for, or is far too long."""
        if len(line) >= _LONGEST_LINE:
            raise InvalidEvent("data", f"is longer than the {MAX_DATA_BYTES} bytes allowed")
        members = _members(line) if self.subject_member is not None or self.key_member is not None else {}
        return Event(
            type=self.type,
            data=line,
            account=self.account,
            app=self.app,
            subject=_text_of(members, self.subject_member),
            idempotency_key=_text_of(members, self.key_member),
        )


def read_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number, line) for each line that is not blank. A line that is far too long is cut."""
    number = 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        piece = line
        while not piece.endswith(b"\n") and (piece := stream.readline(_LONGEST_LINE)):
            pass
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if len(line) < _LONGEST_LINE:
            line = line.strip(_WHITE_SPACE)
        if line:
            yield number, line


def _members(line: bytes) -> dict[str, str]:
    try:
        return object_members(line.decode())
    except UnicodeDecodeError:
        raise InvalidEvent("data", "is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidEvent("data", f"is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:
        raise InvalidEvent("data", str(error)) from None


def _text_of(members: dict[str, str], name: str | None) -> str | None:
    """A string's text, or a number with its digits as written."""
    if name is None:
        return None
    raw = members.get(name)
    if raw is None:
        raise InvalidEvent("data", f"has no member {name!r}")
    if raw.startswith('"'):
        text: str = json.loads(raw)
        return text
    if raw[0] in "-0123456789":
        return raw
    raise InvalidEvent("data", f"has a member {name!r} that is neither a string nor a number")
