"""Bodies of requests to a dialect, as its clients send them in practice."""

import json
from typing import Any


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a body, regardless of its content type; None for anything else. Not for message data: Python
    may change its numbers."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
