"""Removes secrets that a receiver repeats in its answer, before the answer is stored. Pure."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote, unquote_plus

from dispatcher.masking.messages import spellings
from dispatcher.masking.urls import MASK

MIN_CHARACTERS = 6  # characters: shorter values occur in many answers by chance

_MASK = MASK.encode()


def secret_forms(values: Iterable[str]) -> tuple[bytes, ...]:
    """The values, which may be percent-encoded, in the forms in which an answer may repeat them. Forms of fewer than
    `MIN_CHARACTERS` are left out."""
    clear = {decoded(value) for value in values for decoded in (str, unquote, unquote_plus)}
    return tuple({form.encode(errors="surrogatepass") for form in spellings(clear, MIN_CHARACTERS)})


def redacted(data: bytes, secrets: Sequence[bytes], kept: int) -> bytes:
    """The first `kept` bytes, with `***` for each of the secrets. One that crosses the end is removed as a whole."""
    window = data if len(data) <= kept else data[: kept + max(map(len, secrets), default=0)]
    for secret in secrets:  # the quick way first: this runs for each answer, and few repeat anything
        if secret in window:
            break
    else:
        return data[:kept]
    parts, at = [], 0
    longest_first = sorted(secrets, key=len, reverse=True)
    for found in re.finditer(b"|".join(map(re.escape, longest_first)), window):
        if found.start() >= kept:
            break
        parts += [data[at : found.start()], _MASK]
        at = found.end()
    return b"".join([*parts, data[at:kept]])
