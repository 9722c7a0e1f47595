"""Which transport a worker uses, and a new one of it, with the descriptors that its connections need."""

import resource
from typing import TYPE_CHECKING, Literal

from dispatcher.errors import ConfigurationError
from dispatcher.settings import Settings
from workers.transport import Transport
from workers.transport.requests import RequestsTransport

if TYPE_CHECKING:
    from workers.transport.curl import CurlTransport

CURL_IN_FLIGHT = 1000  # 25 kB each
THREADS, MOST_THREADS = 64, 1000
_OTHER_FILES = 400  # idle connections, the database, the broker, logs


def transport_name(settings: Settings) -> Literal["curl", "requests"]:
    """What the settings come to here. Raises ConfigurationError for what cannot be had."""
    curl = None if settings.transport == "requests" else _curl_transport()
    if curl is not None:
        return "curl"
    if settings.transport == "curl":
        raise ConfigurationError(
            "DISPATCHER_TRANSPORT is curl, but pycurl is not installed: install dispatcher[fast], or choose auto"
        )
    if settings.max_in_flight is not None and settings.max_in_flight > MOST_THREADS:
        raise ConfigurationError(
            f"DISPATCHER_MAX_IN_FLIGHT is above {MOST_THREADS}, the most that the transport on requests takes"
        )
    return "requests"


def new_transport(settings: Settings) -> Transport:
    """The transport of one process; make it in the process that uses it. Raises ConfigurationError."""
    curl = _curl_transport() if transport_name(settings) == "curl" else None
    capacity = settings.max_in_flight or (THREADS if curl is None else CURL_IN_FLIGHT)
    _allow_files(capacity + _OTHER_FILES)
    return (curl or RequestsTransport)(capacity=capacity, ca_bundle=settings.ca_bundle)


def _curl_transport() -> "type[CurlTransport] | None":
    """None where pycurl, which is an extra, is not installed or cannot be loaded."""
    try:
        from workers.transport.curl import CurlTransport  # noqa: PLC0415
    except ImportError:
        return None
    return CurlTransport


def _allow_files(wanted: int) -> None:
    """Raises this process's own limit of open files as far as needed and allowed; the usual one is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
