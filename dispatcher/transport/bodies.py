"""Decodes what was read of an answer's body, up to the cap: a decompression bomb costs one cap of memory."""

import zlib
from collections.abc import Iterable
from typing import NamedTuple

from dispatcher.transport.port import BODY_CAP

_GZIP = 16 + zlib.MAX_WBITS


class Body(NamedTuple):
    """The decoded body, cut to the cap; or the raw one, if `unreadable`."""

    content: bytes
    cut: bool
    unreadable: bool


def decode_body(
    raw: bytes, headers: Iterable[tuple[str, str]], *, transfer_coded: bool = False, cut: bool = False
) -> Body:
    """Undoes gzip and deflate by the `Content-Encoding` in `headers`.

    `raw` is what was read, at most one byte more than the cap: that byte shows that there was more, as does `cut`.
    Other encodings, several at once, data that does not match its encoding, and `transfer_coded` bodies (with a
    transfer coding, for which no request asks) are returned as they were received, marked unreadable.
    """
    if not raw:
        return Body(b"", cut, False)
    encodings = [value.strip().lower() for name, value in headers if name.lower() == "content-encoding"]
    cut = cut or len(raw) > BODY_CAP
    if transfer_coded:
        return Body(raw[:BODY_CAP], cut, True)
    match encodings:
        case [] | ["identity"] | [""]:
            return Body(raw[:BODY_CAP], cut, False)
        case ["gzip" | "x-gzip"]:
            ways = [_GZIP]
        case ["deflate"]:
            ways = [zlib.MAX_WBITS, -zlib.MAX_WBITS]  # zlib as RFC 9110 says, or bare deflate as some servers send
        case _:
            return Body(raw[:BODY_CAP], cut, True)
    for way in ways:
        inflating = zlib.decompressobj(way)
        try:
            content = inflating.decompress(raw, BODY_CAP + 1)
        except zlib.error:
            continue
        if inflating.eof or cut or len(content) > BODY_CAP:
            return Body(content[:BODY_CAP], cut or len(content) > BODY_CAP, False)
    return Body(raw[:BODY_CAP], cut, True)
