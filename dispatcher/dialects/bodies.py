"""Bodies of requests to a dialect, as its clients really send them."""

import json
from typing import Any


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a body, whatever its content type says; None for anything else. It is not for message data:
    numbers are read as Python reads them."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
