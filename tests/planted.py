"""Finds a planted value in every form that it can have."""

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote

_HEX = re.compile(r"(?:[0-9a-f]{2}){4,}", re.IGNORECASE)


def shapes(secret: str) -> set[str]:
    """A secret unchanged, in a URL, in JSON, in HTML, and in the Base64 of a text that contains it at any position."""
    encoded = set()
    for before in range(3):
        text = base64.b64encode(b"x" * before + secret.encode()).decode().rstrip("=")
        encoded.add(text[(0, 2, 3)[before] : -1])
    in_url = {quote(secret), quote(secret, safe=""), quote(secret).replace("%20", "+")}
    return {secret, *in_url, json.dumps(secret)[1:-1], html.escape(secret), *encoded}


def found_in(text: str, secrets: Iterable[str]) -> list[str]:
    """The secrets that occur in a text, or in its hexadecimal parts once decoded, each with its place."""
    places = [text, *(bytes.fromhex(digits).decode("latin-1") for digits in _HEX.findall(text))]
    return [
        f"{secret} in ...{place[max(0, place.index(shape) - 200) : place.index(shape) + 100]}"
        for secret in secrets
        for shape in {form.encode().decode("latin-1") for form in shapes(secret)} | shapes(secret)
        for place in places
        if shape in place
    ]
