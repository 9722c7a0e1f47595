"""Makes foreign text (an answer's body, a name) fit to be shown in a mail: short, harmless, and without secrets."""

import re
import unicodedata

from dispatcher.masking.urls import MASK, mask_url

MAX_CHARACTERS = 600
MAX_LINES = 12
_CUT = " […]"

_LINE_END = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_UNSAFE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
_ADDRESS = re.compile(r"(?:https?:/)?/[^\s\"'<>`]+")
_CREDENTIALS = re.compile(r"(authorization\W{1,6}\w+\s+)[^\s\"',<>]+", re.IGNORECASE)


def excerpt(body: bytes | None, *, cut: bool = False) -> str | None:
    """The beginning of an answer's body as text; None if there is nothing to show.

    An error page often repeats the address it was called at, secrets included. So anything that looks like an address
    is masked like the webhook's own URL, and credentials are masked as well.
    """
    if not body:
        return None
    if b"\0" in body:
        return f"({len(body)} bytes that are not text)"
    shown = _LINE_END.sub("\n", body.decode(errors="replace"))
    shown = _CREDENTIALS.sub(rf"\1{MASK}", _ADDRESS.sub(lambda address: mask_url(address[0]), shown))
    lines = [_harmless(line).rstrip() for line in shown.strip().split("\n")]
    text = "\n".join(lines[:MAX_LINES])
    short = text[:MAX_CHARACTERS].rstrip()
    return short + (_CUT if cut or len(lines) > MAX_LINES or len(text) > MAX_CHARACTERS else "") or None


def one_line(text: str, limit: int = 120) -> str:
    """One line of plain characters, for headers, subjects and log lines.

    Mail software decodes `=?...?=` in a header, line ends included. It is broken up here, so that no name can inject
    headers.
    """
    line = " ".join(_harmless(_LINE_END.sub(" ", text).replace("\n", " ")).split()).replace("=?", "= ?")
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _harmless(text: str) -> str:
    """Replaces control and direction characters, which can hide or reverse what a reader sees."""
    text = text.replace("\t", "    ")
    return "".join("\ufffd" if unicodedata.category(character) in _UNSAFE else character for character in text)
