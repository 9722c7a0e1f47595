"""Whether encryption keys have the form of keys. Pure; the library that uses them is not loaded by producers."""

import re
from base64 import urlsafe_b64decode

_KEY = re.compile(r"[A-Za-z0-9+/_-]{43}=")


def check_keys(text: str) -> None:
    """Raises ValueError, which says which of the keys in a comma-separated list is wrong, without the key."""
    keys = [key.strip() for key in text.split(",") if key.strip()]
    decoded: list[bytes] = []
    for number, key in enumerate(keys, 1):
        which = f"key {number} of {len(keys)}" if len(keys) > 1 else "it"
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"must be Fernet keys of 44 characters, separated by commas: {which} has {len(key)}"
                + (", not all of them those of a key" if len(key) == 44 else "")
            )
        decoded.append(urlsafe_b64decode(key))
        if len(set(decoded[-1])) == 1:
            raise ValueError(f"must be random: {which} is one byte again and again")
        if (first := decoded.index(decoded[-1]) + 1) < number:
            raise ValueError(f"must not have a key twice: key {number} is key {first}")
    if text.strip() and not keys:
        raise ValueError("must be Fernet keys of 44 characters, separated by commas: there is none")
