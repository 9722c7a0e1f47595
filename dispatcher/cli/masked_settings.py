"""Settings as they may be shown: secrets are masked, and a URL shows only where it leads to."""

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
    """Where the URL of a database or broker leads to, without the login."""
    # Not parsed: a password with characters that should be escaped must not be taken for a host.
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    place, question, _ = place.partition("?")
    if not at and ":" in place.partition("/")[0].rstrip("0123456789").removesuffix(":"):
        return f"{scheme}://{MASK}"
    return f"{scheme}://{f'{MASK}@' if login else ''}{place}{f'?{MASK}' if question else ''}"
