"""Curl's easy handles with the options that all requests of a method share: setting one costs as much as a call."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pycurl

from dispatcher.transport.curl.connections import KeptConnections
from dispatcher.transport.curl.long_reads import LongReads
from dispatcher.transport.guard import Guard
from dispatcher.transport.port import TlsVersion
from dispatcher.transport.trust import CIPHERS, CURVES


@dataclass(frozen=True, slots=True)
class HandleOptions:
    """What all handles of a transport have in common. `trusted` is a file or a folder of certificates, `idle_age`
    seconds that a kept-alive connection may wait."""

    trusted: Path
    tls_minimum: TlsVersion
    idle_age: float
    guard: Guard
    kept: KeptConnections
    long_reads: LongReads


def sends_body(method: str, has_body: bool) -> bool:
    """Whether a request has a body, which may be empty: that is sent as a length of 0."""
    return has_body or method in {"POST", "PUT", "PATCH"}


def new_handle(method: str, has_body: bool, options: HandleOptions) -> pycurl.Curl:
    """A handle that takes nothing from the environment and follows no redirects. It asks for no encoding, so curl
    decodes none: a badly encoded answer is still an answer."""
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    handle.setopt(pycurl.PROXY, "")  # or one would be taken from the environment
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    handle.setopt(pycurl.USERAGENT, "")
    handle.setopt(pycurl.UPLOAD_BUFFERSIZE, 16 * 1024)  # the minimum: each request in flight has one
    handle.setopt(pycurl.BUFFERSIZE, 4 * 1024)  # curl reads many of them before others have a turn
    handle.setopt(pycurl.PATH_AS_IS, 1)
    handle.setopt(pycurl.HTTP09_ALLOWED, 0)
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    handle.setopt(pycurl.SSLVERSION, _TLS_VERSIONS[options.tls_minimum])
    handle.setopt(pycurl.SSL_CIPHER_LIST, CIPHERS)
    handle.setopt(pycurl.SSL_EC_CURVES, CURVES)
    if options.trusted.is_dir():
        handle.unsetopt(pycurl.CAINFO)
        handle.setopt(pycurl.CAPATH, str(options.trusted))
    else:
        handle.setopt(pycurl.CAINFO, str(options.trusted))
    handle.setopt(pycurl.MAXAGE_CONN, max(1, round(options.idle_age)))
    if sends_body(method, has_body):
        handle.setopt(pycurl.POST, 1)
        if method != "POST":
            handle.setopt(pycurl.CUSTOMREQUEST, method)
    elif method == "HEAD":
        handle.setopt(pycurl.NOBODY, 1)
    elif method != "GET":
        handle.setopt(pycurl.CUSTOMREQUEST, method)
    return handle


def header_lines(headers: tuple[tuple[str, str], ...]) -> list[bytes]:
    """The headers as curl takes them, with its own ones suppressed."""
    # A blank value is written with a semicolon; a name with nothing after its colon suppresses curl's own header.
    lines = [(f"{name}: {value}" if value.strip() else f"{name};").encode("latin-1") for name, value in headers]
    return lines + _unwanted(tuple([name for name, _ in headers]))


@lru_cache(maxsize=1024)  # the names are the same for all requests of a kind
def _unwanted(names: tuple[str, ...]) -> list[bytes]:
    lowered = {name.lower() for name in names}
    return [b"Expect:", *(line for name, line in _CURLS_OWN.items() if name not in lowered)]


_TLS_VERSIONS = {"1.2": pycurl.SSLVERSION_TLSv1_2, "1.3": pycurl.SSLVERSION_TLSv1_3}  # that one or later
_CURLS_OWN = {"accept": b"Accept:", "content-type": b"Content-Type:"}
