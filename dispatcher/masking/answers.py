"""Removes secrets that a receiver repeats in its answer, before the answer is stored. Pure."""

from collections.abc import Collection, Iterable

from dispatcher.masking.forms import MOST_BYTES, Form, Part, found, without_percent
from dispatcher.masking.urls import MASK

MIN_CHARACTERS = 6  # characters: shorter values occur in many answers by chance
MOST_SPELLINGS = 25  # of a webhook's secrets: each is sought in nine forms, and a claim makes them for many webhooks

_MASK = MASK.encode()


def secret_forms(values: Iterable[str]) -> tuple[Form, ...] | None:
    """What to seek in an answer for these values, which may be percent-encoded; None if they have more than
    `MOST_SPELLINGS`. Values of fewer than `MIN_CHARACTERS` are left out."""
    spellings: set[Part] = set()
    for value in values:
        if len(value) >= MIN_CHARACTERS:  # nor is a shorter one longer decoded
            text, more = Part.of(value)
            for each in (text, _unquoted(text), _unquoted(text.replace("+", " "))):
                if len(each) >= MIN_CHARACTERS:
                    spellings.add(Part(each, more))
            if len(spellings) > MOST_SPELLINGS:
                return None
    return tuple({form for spelling in spellings for form in spelling.forms()})


def _unquoted(value: str) -> str:
    """`unquote` of the standard library, in a twentieth of the time: this runs for each webhook of a claim."""
    return without_percent(value.encode(errors="surrogatepass")).decode(errors="replace") if "%" in value else value


def redacted(data: bytes, secrets: Collection[Form] | None, kept: int) -> bytes:
    """The first `kept` bytes, with `***` for each of the secrets. One that crosses the end is removed as a whole. If
    there are too many (None), `***` stands for all."""
    if secrets is None:
        return _MASK if data else data
    longest = max((len(secret.begin) for secret in secrets), default=0)
    window = data if len(data) <= kept else data[: kept + MOST_BYTES * longest]
    parts, at = [], 0
    for begin, end in found(window, secrets):
        if begin >= kept:
            break
        parts += [data[at:begin], _MASK]
        at = end
    return b"".join([*parts, data[at:kept]]) if parts else data[:kept]
