"""Makes text that others wrote (an answer, a header) safe to show on a terminal, which obeys control characters."""

import unicodedata

_DANGEROUS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, formatting (bidi), surrogates, line separators
_JOINERS = frozenset("\u200c\u200d")  # formatting too, but part of how words and emoji are written
_LINES = frozenset("\n\t")


def safe_text(text: str, *, lines: bool = False) -> str:
    """The text with every character that could control a terminal, or reorder what is read, as a visible escape.

    `lines` keeps line breaks (also as CR LF) and tabs; without it, all is one line.
    """
    if lines:
        text = text.replace("\r\n", "\n")
    kept = _JOINERS | _LINES if lines else _JOINERS
    return "".join(
        _escape(character) if character not in kept and unicodedata.category(character) in _DANGEROUS else character
        for character in text
    )


def ascii_json(text: str) -> str:
    """The same JSON document in printable ASCII: inside its strings, everything else becomes `\\\\u` escapes."""
    return "".join(
        character if character.isascii() and character != "\x7f" else _json_escape(character) for character in text
    )


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))
