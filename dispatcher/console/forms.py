"""What forms send, and what is wrong with it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qsl

from dispatcher.errors import InvalidInput
from dispatcher.web.problems import Problem

_MOST_FIELDS = 500
MAX_LINES = 1_000  # over all fields: many become members, each of which is checked


def read_fields(body: bytes) -> Sequence[tuple[str, str]]:
    """The fields of a form, in their order. Raises Problem 400 for what no browser sends, 413 for more than 1,000
    lines."""
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the form cannot be read") from None
    if any("\0" in value for _, value in fields):
        raise Problem(HTTPStatus.BAD_REQUEST, "the form has a character (NUL) that no field takes")
    if sum(len(value.splitlines()) for _, value in fields) > MAX_LINES:
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the form has more than {MAX_LINES} lines")
    return fields


class Form:
    """The fields of a form. What is missing is empty."""

    def __init__(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        """The last value of a field, without spaces around it."""
        return next((value.strip() for other, value in reversed(self._fields) if other == name), "")

    def has(self, name: str) -> bool:
        """Whether the field was sent: for boxes that are ticked."""
        return any(other == name for other, _ in self._fields)

    def all(self, name: str) -> list[str]:
        """All its values that are not empty."""
        return [value.strip() for other, value in self._fields if other == name and value.strip()]

    def lines(self, name: str) -> list[str]:
        """The lines of a text that are not empty."""
        return [line.strip() for line in self[name].splitlines() if line.strip()]

    def must_repeat(self, words: str) -> None:
        """Raises InvalidInput unless `confirm` is these words: what a person types to say that they mean it."""
        if self["confirm"] != words:
            raise InvalidInput("confirm", "is not what stands above the field")


class Problems:
    """Why fields were refused, for the summary above a form and for the fields themselves."""

    def __init__(self, found: Mapping[str, str]) -> None:
        self._found = dict(found)
        self._labels: dict[str, str] = {}

    @classmethod
    def of(cls, error: InvalidInput | Problem) -> Self:
        """Those that an error names, or the error itself, which is then about no field."""
        if isinstance(error, InvalidInput):
            return cls({error.field: error.reason})
        return cls(dict(error.errors) or {"": error.detail})

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._found.items())

    def at(self, field: str, label: str = "") -> str | None:
        """Why this field was refused. The summary calls the field by this label then."""
        self._labels[field] = label
        return self._found.get(field)

    def label_of(self, field: str) -> str:
        """What the page calls the field; of one that it does not have, its name."""
        return self._labels.get(field) or field.replace("_", " ")
