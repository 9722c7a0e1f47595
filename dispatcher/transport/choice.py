"""Chooses the transport that a worker uses, and makes one, with the descriptors that its connections need."""

import resource
from typing import TYPE_CHECKING, Literal

import structlog

from dispatcher.errors import ConfigurationError
from dispatcher.settings import Settings
from dispatcher.transport.port import Transport
from dispatcher.transport.trust import trusted_authorities

if TYPE_CHECKING:
    from dispatcher.transport.curl.transport import CurlTransport
    from dispatcher.transport.threaded.transport import RequestsTransport

log = structlog.get_logger("dispatcher.worker")

CURL_IN_FLIGHT = 1500  # 25 kB each while it lasts; enough for 1,000 that hang and others beside them
THREADS, MAX_THREADS = 64, 1000
# Kept-alive connections that wait; behind TLS each has 80 to 120 kB. With more receivers than these a new one is opened
# for almost every request, which costs ten times as much CPU. The least is for a process that may open few files.
IDLE, LEAST_IDLE = 1000, 300
_OTHER_FILES = 100  # the database, the broker, logs


def transport_name(settings: Settings) -> Literal["curl", "requests"]:
    """The transport that the settings select on this machine. Raises ConfigurationError if it is not available."""
    curl = None if settings.transport == "requests" else _curl_transport()
    if curl is not None:
        return "curl"
    if settings.transport == "curl":
        raise ConfigurationError(
            "DISPATCHER_TRANSPORT is curl, but pycurl is not installed: install it (the engine's extra `fast` has it), "
            "or choose auto"
        )
    if settings.max_in_flight is not None and settings.max_in_flight > MAX_THREADS:
        raise ConfigurationError(
            f"DISPATCHER_MAX_IN_FLIGHT is above {MAX_THREADS}, the most that the transport on requests takes"
        )
    return "requests"


def check_transport(settings: Settings) -> None:
    """Raises ConfigurationError wherever `new_transport` would."""
    transport_name(settings)
    trusted_authorities(settings.ca_bundle)


def new_transport(settings: Settings, *, capacity: int | None = None) -> Transport:
    """A transport for the process and the thread that make it. `capacity`: requests at once; default: as the settings
    say. Raises ConfigurationError."""
    curl = _curl_transport() if transport_name(settings) == "curl" else None
    idle = LEAST_IDLE
    if capacity is None:
        wanted = settings.max_in_flight or (THREADS if curl is None else CURL_IN_FLIGHT)
        capacity, idle = _with_files(wanted)
    return (curl or _requests_transport())(
        capacity=capacity,
        idle_limit=idle,
        per_address=settings.max_per_destination,
        addresses=settings.addresses,
        ca_bundle=settings.ca_bundle,
        tls_minimum=settings.tls_minimum,
    )


# Each is loaded only where it is used: a worker should spend memory on one only.


def _curl_transport() -> "type[CurlTransport] | None":
    """None where pycurl, which is an extra, is not installed or cannot be loaded."""
    try:
        from dispatcher.transport.curl.transport import CurlTransport  # noqa: PLC0415
    except ImportError:
        return None
    return CurlTransport


def _requests_transport() -> "type[RequestsTransport]":
    from dispatcher.transport.threaded.transport import RequestsTransport  # noqa: PLC0415

    return RequestsTransport


def _with_files(capacity: int) -> tuple[int, int]:
    """Raises this process's own limit of open files (the usual one is 1,024) as far as needed and allowed. Returns the
    part of the capacity that it is enough for, and how many idle connections: without a file for its connection a
    request would fail, and its receiver would be blamed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = capacity + IDLE + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return capacity, IDLE
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    left = allowed - _OTHER_FILES
    if capacity > left - LEAST_IDLE:
        capacity = max(1, left - LEAST_IDLE)
        log.warning("the limit of open files bounds the requests in flight", limit=allowed, in_flight=capacity)
    return capacity, max(1, min(IDLE, left - capacity))
