"""Database errors without the data that was sent: their own texts quote values, whole rows, parts of a URL."""

import re

import psycopg2
from sqlalchemy import URL
from sqlalchemy.engine import ExceptionContext

# SQLSTATE classes whose primary message names only tables, columns and limits. The others quote literals.
_WITHOUT_VALUES = frozenset({"08", "23", "25", "40", "42", "53", "54", "55", "57"})
_SYNTAX_ERROR = "42601"  # quotes a word of the statement, which may be a part of a literal
_LONG = 4  # characters of a word that is looked for
_QUOTED = re.compile(r'["«»„“”][^"«»„“”]*["«»„“”]')


def withhold_values(context: ExceptionContext) -> None:
    """For an engine's event `handle_error`: the error that is raised, logged and shown has a text without values. With
    `hide_parameters`, no other part of an error contains any."""
    error = context.original_exception
    if not isinstance(error, psycopg2.Error):
        return
    text = harmless_text(error, context.engine.url if context.engine is not None else None)
    error.args = (text,)
    if context.sqlalchemy_exception is not None:
        kind = type(error)
        context.sqlalchemy_exception.args = (f"({kind.__module__}.{kind.__name__}) {text}",)


def harmless_text(error: psycopg2.Error, url: URL | None = None) -> str:
    """The server's message without detail, hint and context, or only its code where the message may contain a value.
    The driver's own texts (without a code, mostly about the connection) are kept except for what they quote, and for
    what the URL of the database has in its password and options."""
    code = error.pgcode
    if code is None:
        text = _QUOTED.sub('"***"', str(error)).strip()
        return _without_parts_of(url, text) if url is not None else text
    if code[:2] in _WITHOUT_VALUES and code != _SYNTAX_ERROR and error.diag.message_primary:
        return str(error.diag.message_primary)
    return f"SQLSTATE {code}"


def _without_parts_of(url: URL, text: str) -> str:
    said = [str(url.password or ""), *(value for values in url.normalized_query.values() for value in values)]
    for word in sorted({word for words in said for word in words.split()}, key=len, reverse=True):
        if len(word) >= _LONG:
            text = text.replace(word, "***")
    return text
