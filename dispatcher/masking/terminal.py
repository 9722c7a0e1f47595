"""Makes text that others wrote (an answer, a header) safe to show on a terminal, which obeys control characters."""

import re

# Control, formatting (bidi), surrogates, line separators; without joiners, which are part of how words and emoji are
# written. Spelt out: to ask for each character's category takes longer than all else.
_BEYOND_ASCII = (
    "\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b\u200e-\u200f\u2028-\u202e\u2060-\u2064"
    "\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
_DANGEROUS = re.compile(f"[\0-\x1f{_BEYOND_ASCII}]")
_DANGEROUS_IN_LINES = re.compile(f"[\0-\x08\x0b-\x1f{_BEYOND_ASCII}]")
_DANGEROUS_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")  # its strings escape the others; between them these are spaces


def safe_text(text: str, *, lines: bool = False) -> str:
    """The text with every character that could control a terminal, or reorder what is read, as a visible escape.

    `lines` keeps line breaks (also as CR LF) and tabs; without it, all is one line.
    """
    if lines:
        return _DANGEROUS_IN_LINES.sub(_escape, text.replace("\r\n", "\n"))
    return _DANGEROUS.sub(_escape, text)


def safe_json(document: bytes) -> bytes:
    """The same JSON document, with the characters that `safe_text` escapes as `\\\\u` escapes in its strings."""
    if document.isascii() and b"\x7f" not in document:
        return document
    return _DANGEROUS_IN_JSON.sub(lambda found: _json_escape(found[0]), document.decode(errors="replace")).encode()


def ascii_json(text: str) -> str:
    """The same JSON document in printable ASCII: inside its strings, everything else becomes `\\\\u` escapes."""
    return "".join(
        character if character.isascii() and character != "\x7f" else _json_escape(character) for character in text
    )


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))
