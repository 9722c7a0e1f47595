"""Settings as they may be shown: secrets are masked, and a URL shows only where it leads to."""

import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from dispatcher.masking.urls import MASK

_URLS = frozenset({"database_url", "broker_url"})


def masked_setting(name: str, value: Any) -> Any:
    """A setting's value as it may be shown. A URL shows where it leads to, never the login."""
    if isinstance(value, SecretStr):
        clear = value.get_secret_value()
        if name in _URLS:
            return mask_connection(clear)
        return MASK if clear else ""
    return str(value) if isinstance(value, Path) else value


def mask_connection(url: str) -> str:
    """Where the URL of a database or broker leads to, without the login. Each sentinel has a URL of its own."""
    return ";".join(_mask_one(part) for part in re.split(r";(?=sentinel://)", url))


def _mask_one(url: str) -> str:
    # Not parsed: a password with characters that should be escaped must not be taken for a host.
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if "?" in login:  # the @ may be in a password that is a parameter
        return f"{scheme}://{MASK}"
    place, question, _ = place.partition("?")
    if not at and ":" in place.partition("/")[0].rstrip("0123456789").removesuffix(":"):
        return f"{scheme}://{MASK}"
    return f"{scheme}://{f'{MASK}@' if login else ''}{place}{f'?{MASK}' if question else ''}"
