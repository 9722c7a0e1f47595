"""The templates of mails."""

from datetime import UTC
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def environment() -> "Environment":
    """Reads the templates of this package; what they show is escaped in HTML."""
    from jinja2 import (  # noqa: PLC0415 - loops send no mail, and should not spend memory on it
        Environment,
        PackageLoader,
        StrictUndefined,
        select_autoescape,
    )

    made = Environment(
        loader=PackageLoader("workers.notices"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["moment"] = lambda moment: f"{moment.astimezone(UTC):%d %B %Y, %H:%M:%S} UTC"
    made.filters["indented"] = lambda text: "\n".join(f"    {line}".rstrip() for line in text.split("\n"))
    return made
