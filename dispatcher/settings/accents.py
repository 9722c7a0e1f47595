"""The colour that a platform gives the portal, and what follows from it. Pure."""

import re

_FORM = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
LEAST = 4.5  # the contrast that text needs (WCAG 2.2, AA)
WHITE, DARK = "#ffffff", "#161c25"  # what it stands on, light and dark: the panels of the pages
_STEPS = 20


def check_accent(text: str) -> str:
    """The colour, in small letters. Raises ValueError for what is none, or cannot be read on white, nor white on it."""
    if not _FORM.fullmatch(text):
        raise ValueError("must be a colour like #0b57c9")
    found = contrast(text, WHITE)
    if found < LEAST:
        raise ValueError(f"has a contrast of {found:.1f}:1 to white, and text needs {LEAST}:1: take a darker one")
    return text.lower()


def contrast(one: str, other: str) -> float:
    """Of two colours, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def on_dark(accent: str) -> str:
    """The same colour, with as much white as it needs to be read on a dark panel."""
    mixed = (mix(accent, WHITE, step / _STEPS) for step in range(_STEPS + 1))
    return next(colour for colour in mixed if contrast(colour, DARK) >= LEAST)


def mix(one: str, other: str, share: float) -> str:
    """A colour with this share of another one."""
    pairs = zip(_parts(one), _parts(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(part / 255) for part in _parts(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
