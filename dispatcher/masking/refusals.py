"""Why a value was refused, in plain words: without the value, and not as the library that checks it puts it. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

_WORDS = {
    "greater_than_equal": "must be at least {ge:,.12g}",
    "greater_than": "must be more than {gt:,.12g}",
    "less_than_equal": "must be at most {le:,.12g}",
    "less_than": "must be less than {lt:,.12g}",
    "string_too_short": "must have at least {min_length:,} characters",
    "string_too_long": "must have at most {max_length:,} characters",
    "too_short": "must have at least {min_length:,} items",
    "too_long": "must have at most {max_length:,} items",
    "enum": "must be one of: {expected}",
    "literal_error": "must be one of: {expected}",
    "extra_forbidden": "is not known",
    "missing": "is required",
    "none_required": "cannot be set",
    "finite_number": "must be a finite number",
    "string_pattern_mismatch": "has characters that are not allowed here",
    "string_unicode": "must be UTF-8 text",
    "json_invalid": "must be JSON",
    "union_tag_invalid": "must have a known {discriminator}",
    "union_tag_not_found": "must have a known {discriminator}",
}
# What begins the names of pydantic's other kinds: `int_parsing`, `int_type`, `int_from_float`, ...
_FORMS = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "uuid": "must be an id, such as 0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00",
    "dict": "must be an object",
    "model": "must be an object",
    "mapping": "must be an object",
    "list": "must be a list",
    "tuple": "must be a list",
    "path": "must be the path of a file",
    "datetime": "must be a date and time as in RFC 3339",
    "timezone": "must be a date and time with a zone, as in RFC 3339",
}


_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


def first_refusal(error: ValidationError) -> tuple[str, str]:
    """The place of the first value that was refused, as a path of names ("" for the whole), and `refusal`. A name that
    is not safe to show is left out: names come from outside, as values do."""
    first = error.errors(include_url=False, include_input=False)[0]
    names = [str(part) if _PLAIN_NAME.fullmatch(str(part)) else "(an invalid name)" for part in first["loc"]]
    return ".".join(names), refusal(first)


def refusal(error: Mapping[str, Any]) -> str:
    """The end of a sentence that begins with what was refused, for one of the `errors()` of a `ValidationError`."""
    kind, bounds = str(error["type"]), dict(error.get("ctx", {}))
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if "expected" in bounds:  # 'POST', 'PUT' or 'GET'
        bounds["expected"] = bounds["expected"].replace(" or ", ", ").replace("'", "")
    if kind in _WORDS:
        reason = _WORDS[kind].format(**bounds)
        return reason.removesuffix("s") if reason.endswith((" 1 characters", " 1 items")) else reason
    return _FORMS.get(kind.partition("_")[0], "does not have the form that is wanted here")
