"""Removes secrets that a receiver repeats in its answer, before the answer is stored. Pure."""

from collections.abc import Collection, Iterable

from dispatcher.masking.forms import MOST_BYTES, Form, forms, found, without_percent
from dispatcher.masking.urls import MASK

MIN_CHARACTERS = 6  # characters: shorter values occur in many answers by chance

_MASK = MASK.encode()


def secret_forms(values: Iterable[str]) -> tuple[Form, ...]:
    """What to seek in an answer for these values, which may be percent-encoded. Values of fewer than `MIN_CHARACTERS`
    are left out."""
    clear = {each for value in values for each in (value, _unquoted(value), _unquoted(value.replace("+", " ")))}
    return tuple(forms(clear, MIN_CHARACTERS))


def _unquoted(value: str) -> str:
    """`unquote` of the standard library, in a twentieth of the time: this runs for each webhook of a claim."""
    return without_percent(value.encode(errors="surrogatepass")).decode(errors="replace") if "%" in value else value


def redacted(data: bytes, secrets: Collection[Form], kept: int) -> bytes:
    """The first `kept` bytes, with `***` for each of the secrets. One that crosses the end is removed as a whole."""
    longest = max((len(secret.begin) for secret in secrets), default=0)
    window = data if len(data) <= kept else data[: kept + MOST_BYTES * longest]
    parts, at = [], 0
    for begin, end in found(window, secrets):
        if begin >= kept:
            break
        parts += [data[at:begin], _MASK]
        at = end
    return b"".join([*parts, data[at:kept]]) if parts else data[:kept]
