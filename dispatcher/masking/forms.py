"""Finds values in a foreign text, in whatever forms programs write them there. Pure.

A text is searched as it is, then decoded and searched again: percent-encoding, escapes of JSON and other languages, and
HTML entities, each character in its own form, one form inside another. What cannot be decoded without knowing where it
begins is sought as it is written: hexadecimal, and Base64 with any bytes before the value.

Customers choose the values, and receivers the text. So what this takes is bounded, in time and in memory: of a long
value the first bytes are sought, and of a text that takes too much nothing is shown.
"""

import re
from base64 import b64encode
from binascii import a2b_qp
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from html import unescape
from itertools import islice
from typing import NamedTuple, Self

MOST_BYTES = 6  # that a character of a form takes in a text: `\u002B`
MOST = 50  # places: more take too long to work out
MOST_WORK = 2_000_000  # bytes of text times what is sought in them
SOUGHT = 32  # bytes of a form, its first
READ = 7 * SOUGHT  # characters of a value: in percent-encoding six can stand for one byte, of Latin-1
_LEVELS = 4  # how many forms, one inside another, are decoded
_PAIR = 12  # characters of an escape of two halves
_LEAST_CODED = 6  # characters of Base64 or hexadecimal: shorter ones occur by chance
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_ONLY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[\"'\\/bfnrt])"
)
_ENTITY = re.compile(rb"&(?:#(?:[0-9]{1,8}|[xX][0-9A-Fa-f]{1,8});?|[A-Za-z][A-Za-z0-9]{1,31};)")
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Form(NamedTuple):
    """A value in one of its forms: the first bytes, which are sought; how many it has, and by what all of them are
    recognised in this process. Without that (None) it can have somewhat fewer."""

    begin: bytes
    length: int
    mark: int | None

    @classmethod
    def of(cls, whole: bytes) -> Self:
        return cls(whole[:SOUGHT], len(whole), hash(whole))

    @classmethod
    def begun(cls, part: bytes, more: int) -> Self:
        """Of a value that begins so and has so many bytes more."""
        return cls(part[:SOUGHT], len(part) + more, None) if more else cls.of(part)

    def end_in(self, text: bytes, begin: int) -> int:
        """Where it ends in a text that has its first bytes there. If only these are there, they are hidden."""
        end = begin + self.length
        if self.mark is None:
            return min(end, len(text))
        if self.length <= SOUGHT or hash(text[begin:end]) == self.mark:
            return end
        return begin + SOUGHT if end <= len(text) else len(text)


class Part(NamedTuple):
    """The beginning of a value, from which the first bytes of all its forms are made, and how many bytes follow it. So
    a long value costs no more than a short one."""

    text: str
    more: int

    @classmethod
    def of(cls, value: str) -> Self:
        return cls(value[:READ], len(value[READ:].encode(errors="surrogatepass")))

    def forms(self) -> Iterator[Form]:
        """What to seek for the value. A plus sign may stand for a space. What is not UTF-8 is taken for Latin-1, with
        escapes for what is not in it."""
        more = self.more
        for plain in {self.text.encode(errors="surrogatepass"), _in_latin(self.text)}:
            yield Form.begun(plain, more)
            if b" " in plain:
                yield Form.begun(plain.replace(b" ", b"+"), more)
            digits = plain.hex()
            for written in {digits, digits.upper()}:
                yield Form.begun(written.encode(), 2 * more)
            for coded in {*_in_base64(plain)}:
                if len(coded) >= _LEAST_CODED:
                    yield Form.begun(coded, (4 * more + 2) // 3)


def forms(values: Iterable[str], least: int) -> frozenset[Form]:
    """What to seek for these values; those of fewer than `least` characters are left out."""
    return frozenset(form for value in values if len(value) >= least for form in Part.of(value).forms())


def found(text: bytes, sought: Collection[Form]) -> list[tuple[int, int]]:
    """Where in the text the values are with these forms: begin and end of each, in order, none over another. The whole
    text if there are more than `MOST`, or if it takes more than `MOST_WORK`."""
    whole, work = len(text), len(text) * len(sought)
    if work > MOST_WORK:
        return [(0, whole)]
    hits, steps = list(_places(text, sought)), list[_Step]()
    for _ in range(_LEVELS):
        before = text
        for begins, token, decode in _DECODERS:
            if begins in text and token.search(text):
                steps.append(_Step(text, token))
                text = decode(text)
                work += len(text) * len(sought)
                if work > MOST_WORK:
                    return [(0, whole)]
                hits += _mapped(_places(text, sought), text, steps)
                if len(hits) > MOST:
                    return [(0, whole)]
        if text == before:
            break
    return _merged(hits) if len(hits) <= MOST else [(0, whole)]


def _in_latin(value: str) -> bytes:
    try:
        return value.encode("latin-1")  # at once: this runs for each webhook of a claim, of whatever its customer chose
    except UnicodeEncodeError:
        return b"".join(each.encode("latin-1" if each < "\u0100" else "utf-8", "surrogatepass") for each in value)


def _in_base64(plain: bytes) -> Iterator[bytes]:
    """As it is in the Base64 of something that contains it: after any number of bytes, without the characters that
    depend on what is before and after."""
    for before, depending in ((0, 0), (1, 2), (2, 3)):
        last_depends = (before + len(plain)) % 3 != 0
        coded = b64encode(b"\0" * before + plain).rstrip(b"=")
        coded = coded[depending : len(coded) - last_depends]
        yield coded
        yield coded.translate(_TO_URL_SAFE)


def _places(text: bytes, sought: Collection[Form]) -> Iterable[tuple[int, int]]:
    """Some more than `MOST` at most."""
    return islice(_all_places(text, sought), MOST + 1)


def _all_places(text: bytes, sought: Collection[Form]) -> Iterator[tuple[int, int]]:
    find = text.find  # for short texts twice as quick as `in`; few have anything to find
    for form in sought:
        begin = find(form.begin)
        while begin >= 0:
            end = form.end_in(text, begin)
            yield begin, end
            begin = find(form.begin, end)


def _mapped(places: Iterable[tuple[int, int]], text: bytes, steps: Sequence["_Step"]) -> Iterator[tuple[int, int]]:
    """Where these places are in the first text, without those that the text before the last step has, too."""
    *earlier, last = steps
    for begin, end in places:
        before = last.begin(begin), last.end(end)
        if last.before[slice(*before)] != text[begin:end]:
            for step in reversed(earlier):
                before = step.begin(before[0]), step.end(before[1])
            yield before


def _merged(hits: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(hits):
        if merged and begin < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


class _Step:
    """How places in a decoded text lead to the one before; worked out only if something was found there."""

    def __init__(self, before: bytes, token: re.Pattern[bytes]) -> None:
        self.before, self._token = before, token
        self._pieces: Sequence[_Piece] | None = None

    def begin(self, place: int) -> int:
        """Where the character begins that is at this place after decoding."""
        piece = self._piece(place)
        return piece.source if place < piece.end else piece.source_end + place - piece.end

    def end(self, place: int) -> int:
        """Where the character ends that ends at this place after decoding."""
        piece = self._piece(place - 1)
        return piece.source_end if place <= piece.end else piece.source_end + place - piece.end

    def _piece(self, place: int) -> "_Piece":
        if self._pieces is None:
            self._pieces = list(_pieces(self.before, self._token))
        return self._pieces[bisect_right(self._pieces, place, key=lambda piece: piece.begin) - 1]


class _Piece(NamedTuple):
    """A decoded token: where it is after decoding, and where it was."""

    begin: int
    end: int
    source: int
    source_end: int


def _pieces(before: bytes, tokens: re.Pattern[bytes]) -> Iterator[_Piece]:
    yield _Piece(0, 0, 0, 0)
    shorter = 0
    for token in tokens.finditer(before):
        begin = token.start() - shorter
        end = begin + len(_decoded(token))
        yield _Piece(begin, end, *token.span())
        shorter = token.end() - end


def without_percent(text: bytes) -> bytes:
    """Percent-encoding and quoted-printable differ in one character, and the latter is decoded quickly."""
    return a2b_qp(_ONLY_PERCENT.sub(b"%25", text).replace(b"=", b"=3D").replace(b"%", b"="))


def _decoded(token: re.Match[bytes]) -> bytes:
    return _decoded_token(token[0])


@lru_cache(maxsize=2048)
def _decoded_token(token: bytes) -> bytes:
    """The bytes that a token stands for. A number of two digits is a byte: of UTF-8 or Latin-1."""
    text = token.decode()
    if text[0] == "&":
        return unescape(text).encode()
    if len(text) == _PAIR:
        return bytes.fromhex(text[2:6] + text[8:]).decode("utf-16-be").encode()
    if text[1] == "u":
        return chr(int(text[2:6], base=16)).encode(errors="surrogatepass")
    if text[0] == "%" or text[1] == "x":
        return bytes.fromhex(text[-2:])
    return _SIMPLE.get(text[1], text[1]).encode()


_DECODERS: tuple[tuple[bytes, re.Pattern[bytes], Callable[[bytes], bytes]], ...] = (
    (b"%", _PERCENT, without_percent),
    (b"\\", _ESCAPE, partial(_ESCAPE.sub, _decoded)),
    (b"&", _ENTITY, partial(_ENTITY.sub, _decoded)),
)
