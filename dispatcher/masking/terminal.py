"""Makes text that others wrote (an answer, a header) safe to show on a terminal, which obeys control characters."""

import re
from json.encoder import encode_basestring_ascii

# All but control, formatting (bidi), surrogates and line separators, but with joiners, which are part of how words and
# emoji are written. Spelt out: to ask for each character's category takes longer than all else. And what is harmless,
# not what is dangerous: a search then looks most characters up once, not in range after range.
_BEYOND_ASCII = (
    "\xa0-\xac\xae-\u05ff\u0606-\u061b\u061d-\u06dc\u06de-\u070e\u0710-\u088f\u0892-\u08e1\u08e3-\u180d\u180f-\u200a"
    "\u200c-\u200d\u2010-\u2027\u202f-\u205f\u2065\u2070-\ud7ff\ue000-\ufefe\uff00-\ufff8\ufffc-\uffff"
    "\U00010000-\U000110bc\U000110be-\U000110cc\U000110ce-\U0001342f\U00013440-\U0001bc9f\U0001bca4-\U0001d172"
    "\U0001d17b-\U000e0000\U000e0002-\U000e001f\U000e0080-\U0010ffff"
)
_DANGEROUS = re.compile(f"[^ -~{_BEYOND_ASCII}]")
_DANGEROUS_IN_LINES = re.compile(f"[^\t\n -~{_BEYOND_ASCII}]")
_DANGEROUS_IN_JSON = re.compile(f"[^\0-~{_BEYOND_ASCII}]")  # its strings escape the others, or they are spaces
_MOST = 100  # characters of a text that are escaped one by one: each costs a microsecond or more
_STANDS_FOR = {"\\": "\x01", '"': "\x02", "\n": "\x03", "\r": "\x04", "\t": "\x05"}  # none of them is in JSON


def safe_text(text: str, *, lines: bool = False) -> str:
    """The text with every character that could control a terminal, or reorder what is read, as a visible escape.

    `lines` keeps line breaks (also as CR LF) and tabs; without it, all is one line.
    """
    if lines:
        return _DANGEROUS_IN_LINES.sub(_escape, text.replace("\r\n", "\n"))
    return _DANGEROUS.sub(_escape, text)


def safe_json(text: str) -> str:
    """The same JSON document, or part of one, with the characters that `safe_text` escapes as `\\u` escapes in its
    strings. With very many of them it comes in ASCII: an answer can have a million, and nothing else is served
    meanwhile."""
    if text.isascii() and "\x7f" not in text:
        return text
    safe, count = _DANGEROUS_IN_JSON.subn(lambda found: _json_escape(found[0]), text, count=_MOST)
    return safe if count < _MOST else ascii_json(text)


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
