"""Pages of long lists: newest first, by a cursor that stays right while more items are written."""

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

MAX_PAGE = 100

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many items on one page.")]
CURSOR = r"^[A-Za-z0-9_-]{22}$"
Cursor = Annotated[str | None, Query(pattern=CURSOR, description="`next` of the previous page.")]


class Page(BaseModel, Generic[T]):
    """A part of a list, and how to get the rest."""

    model_config = ConfigDict(json_schema_extra={"description": "A part of a list, and how to get the rest."})

    items: list[T]
    next: Annotated[
        str | None,
        Field(description="The cursor of the next page; null on the last one. Earlier pages can be short, too."),
    ]

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """Its name in OpenAPI: `Page[EventDocument]` would become `Page_EventDocument_` there."""
        return f"{params[0].__name__.removesuffix('Document')}Page"


def read_cursor(cursor: str | None) -> UUID | None:
    """The id that the previous page ended with. The parameter's pattern has checked the cursor's form."""
    return UUID(bytes=base64.urlsafe_b64decode(f"{cursor}==")) if cursor is not None else None


def page_of(found: Sequence[T], limit: int, identifier: Callable[[T], UUID]) -> tuple[Sequence[T], str | None]:
    """A page and its `next`, from what was found when one more than the limit was asked for."""
    if len(found) <= limit:
        return found, None
    return found[:limit], write_cursor(identifier(found[limit - 1]))


def write_cursor(before: UUID | None) -> str | None:
    """The cursor of the page that continues below an id."""
    return base64.urlsafe_b64encode(before.bytes).rstrip(b"=").decode() if before is not None else None
