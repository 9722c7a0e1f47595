"""Opens connections: DNS lookup, the addresses in turn, TLS, all within the time to connect."""

import errno
import socket
import ssl
from pathlib import Path
from time import monotonic

from dispatcher.transport.checks import Origin
from dispatcher.transport.deadlines import Deadlines
from dispatcher.transport.failure_texts import (
    LOST_IN_HANDSHAKE,
    NO_ADDRESS,
    NO_TLS_IN_TIME,
    NO_TURN,
    certificate_refused,
    not_connected,
    tls_failed,
)
from dispatcher.transport.guard import Guard
from dispatcher.transport.port import TlsVersion
from dispatcher.transport.resolver import Address, DnsLookups, NoTurn, not_resolved
from dispatcher.transport.threaded.encryption import Encryption
from dispatcher.transport.threaded.faults import NoAnswer
from dispatcher.transport.trust import tls_context, trusted_authorities


class Opener:
    """Opens sockets to origins, with TLS where the scheme says so.

    Certificates are always verified, by what `trusted_authorities` finds. TLS is `tls_minimum` or later.
    """

    def __init__(self, connector: "Connector", *, ca_bundle: Path | None, tls_minimum: TlsVersion) -> None:
        self._tls = _tls_context(ca_bundle, tls_minimum)
        self._connector = connector

    def resolve(self, origin: Origin, account: str, deadlines: Deadlines) -> list[Address]:
        """The addresses of an origin, one at least; raises NoAnswer, at `deadlines.connect` at the latest."""
        return self._connector.resolve(origin.host, origin.port, account, deadlines)

    def allowed(self, origin: Origin, addresses: list[Address]) -> list[Address]:
        """Those that may be called, one at least; raises NoAnswer."""
        return self._connector.allowed(origin.host, addresses)

    def open(
        self, origin: Origin, addresses: list[Address], deadlines: Deadlines
    ) -> tuple[socket.socket, Encryption | None]:
        """A socket connected to one of these addresses, and its TLS. The caller has asked whether they are `allowed`.
        Raises NoAnswer, at `deadlines.connect` at the latest."""
        connected = self._connector.connect(addresses, deadlines)
        if origin.scheme == "http":
            return connected, None
        try:
            encryption = Encryption(self._tls, origin.host)
            encryption.shake_hands(connected, deadlines.connect)
        except TimeoutError:
            fault = NO_TLS_IN_TIME
        except ssl.SSLCertVerificationError as error:
            fault = certificate_refused(error.verify_code)
        except ssl.SSLError as error:
            fault = tls_failed(error.reason or "handshake failed")
        except (OSError, ValueError):  # hung up in the handshake, or a host that cannot be a name in a certificate
            fault = LOST_IN_HANDSHAKE
        else:
            return connected, encryption
        connected.close()
        raise NoAnswer(fault)


class Connector:
    """Looks hosts up, judges their addresses by the egress policy, and tries in turn what it is given of them."""

    def __init__(self, lookups: DnsLookups, guard: Guard) -> None:
        self._dns_lookups, self._guard = lookups, guard

    def resolve(self, host: str, port: int, account: str, deadlines: Deadlines) -> list[Address]:
        """The addresses of a host, one at least. Raises NoAnswer."""
        try:
            found = self._dns_lookups.addresses(host, port, account, deadlines)
        except NoTurn:
            raise NoAnswer(NO_TURN) from None
        except (OSError, UnicodeError) as error:
            raise NoAnswer(not_resolved(error)) from None
        if not found:
            raise NoAnswer(NO_ADDRESS)
        return found

    def allowed(self, host: str, found: list[Address]) -> list[Address]:
        """Those that the egress policy lets through, one at least. Raises NoAnswer with why the last one is refused."""
        addresses, fault = [], NO_ADDRESS
        for family, address in found:
            refusal = self._guard.refuse_address(host, *address[:2])
            if refusal is None:
                addresses.append((family, address))
            else:
                fault = refusal
        if not addresses:
            raise NoAnswer(fault)
        return addresses

    def connect(self, addresses: list[Address], deadlines: Deadlines) -> socket.socket:
        """A connected TCP socket. Each address gets an equal part of the time that is left, so that a dead first one
        leaves some for the next. Raises NoAnswer with what happened at the last one.
        """
        fault = NoAnswer(NO_ADDRESS)
        for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            wait = (deadlines.connect - monotonic()) / left
            if wait <= 0:
                raise _not_connected(TimeoutError())
            connecting = None
            try:
                connecting = socket.socket(family, socket.SOCK_STREAM)
                connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connecting.settimeout(wait)
                connecting.connect(address)
            except OSError as error:
                if connecting is not None:
                    connecting.close()
                fault = _not_connected(error)
            else:
                return connecting
        raise fault


def _not_connected(error: OSError) -> NoAnswer:
    # Python's own timeout has no error number.
    return NoAnswer(not_connected(errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno or 0))


def _tls_context(ca_bundle: Path | None, tls_minimum: TlsVersion) -> ssl.SSLContext:
    context = tls_context(trusted_authorities(ca_bundle))
    context.minimum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[tls_minimum]
    context.set_alpn_protocols(["http/1.1"])
    return context
