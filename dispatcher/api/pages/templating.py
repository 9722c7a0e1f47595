"""The templates of the pages for people, and the headers that every page has."""

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def headers(forms: str = "'none'") -> dict[str, str]:
    """The pages load only the style sheet, and run no script. `forms`: where their forms may go."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'self'; base-uri 'none'; form-action {forms}; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


@cache
def templates() -> Environment:
    """What they show is escaped."""
    environment = Environment(
        loader=PackageLoader("dispatcher.api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Markup:
    """The text, escaped, with parts between backticks marked as code."""
    parts = enumerate(re.split(r"`([^`]+)`", text))
    return Markup().join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in parts)
