"""Makes text that others wrote (an answer, a header) safe to show on a terminal, which obeys control characters."""

import re
from json.encoder import encode_basestring_ascii

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
_MOST = 1_000  # characters of a document that are escaped one by one: each costs a microsecond or more
_STANDS_FOR = {"\\": "\x01", '"': "\x02", "\n": "\x03", "\r": "\x04", "\t": "\x05"}  # none of them is in JSON


def safe_text(text: str, *, lines: bool = False) -> str:
    """The text with every character that could control a terminal, or reorder what is read, as a visible escape.

    `lines` keeps line breaks (also as CR LF) and tabs; without it, all is one line.
    """
    if lines:
        return _DANGEROUS_IN_LINES.sub(_escape, text.replace("\r\n", "\n"))
    return _DANGEROUS.sub(_escape, text)


def safe_json(document: bytes) -> bytes:
    """The same JSON document, with the characters that `safe_text` escapes as `\\\\u` escapes in its strings. One with
    very many of them comes in ASCII: an answer can have a million, and nothing else is served meanwhile."""
    if document.isascii() and b"\x7f" not in document:
        return document
    text = document.decode(errors="replace")
    safe, count = _DANGEROUS_IN_JSON.subn(lambda found: _json_escape(found[0]), text, count=_MOST)
    return (safe if count < _MOST else ascii_json(text)).encode()


def ascii_json(text: str) -> str:
    """The same JSON document in printable ASCII: inside its strings, everything else becomes `\\u` escapes."""
    # The standard library escapes a string a hundred times as quickly as anything that looks at each character. What it
    # must leave, here quotes, backslashes and white space, stands for something else meanwhile.
    for character, other in _STANDS_FOR.items():
        text = text.replace(character, other)
    text = encode_basestring_ascii(text)[1:-1]
    for character, other in reversed(_STANDS_FOR.items()):  # backslashes last: with them there are escapes of others
        text = text.replace(f"\\u{ord(other):04x}", character)
    return text


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))
