"""What we need to talk to receivers: authorities to trust, and a real handshake."""

import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from dispatcher.diagnosis.findings import Finding, not_checked, ok
from dispatcher.diagnosis.judging import outside as judging
from dispatcher.diagnosis.judging.outside import Handshake
from dispatcher.diagnosis.running import Patient
from dispatcher.transport.choice import check_transport, transport_name
from dispatcher.transport.trust import tls_context, trusted_authorities

_STEP = 4.0  # seconds
_HTTPS = 443
_OLDEST = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Place(NamedTuple):
    """A host to try, and its port."""

    host: str
    port: int


def read_place(text: str) -> Place:
    """`HOST`, `HOST:PORT` or an https URL. Raises ValueError."""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("must be a host, HOST:PORT or an https URL")
    return Place(parts.hostname, parts.port or _HTTPS)


def transport(patient: Patient) -> Sequence[Finding]:
    settings = patient.installation.settings
    check_transport(settings)
    return [ok(f"requests go out with {transport_name(settings)}")]


def trust(patient: Patient) -> Sequence[Finding]:
    trusted = trusted_authorities(patient.installation.settings.ca_bundle)
    found = tls_context(trusted).get_ca_certs() if trusted.is_file() else []
    ends = [_time(str(one["notAfter"])) for one in found]
    return [judging.trust(str(trusted), ends, datetime.now(UTC))]


def handshake(patient: Patient) -> Sequence[Finding]:
    settings = patient.installation.settings
    host = patient.handshake or settings.public_url
    if not host.startswith("https://") and not patient.handshake:
        return [not_checked("no host to try", "`dispatcher doctor --handshake HOST` tries one, such as a receiver's")]
    context = tls_context(trusted_authorities(settings.ca_bundle))
    context.minimum_version = _OLDEST[settings.tls_minimum]
    made = _shake(read_place(host), context)
    return [judging.handshake(made, datetime.now(UTC), is_asked=bool(patient.handshake))]


def _shake(place: Place, context: ssl.SSLContext) -> Handshake:
    name = f"{place.host}:{place.port}"
    try:
        with (
            socket.create_connection(place, timeout=_STEP) as connection,
            context.wrap_socket(connection, server_hostname=place.host) as wrapped,
        ):
            certificate = wrapped.getpeercert() or {}
            return Handshake(name, str(wrapped.version()), _time(str(certificate["notAfter"])))
    except ssl.SSLCertVerificationError as error:
        return Handshake(name, failed=error.verify_message, refused=True)
    except ssl.SSLError as error:
        return Handshake(name, failed=f"TLS fails ({error.reason})")
    except socket.gaierror:
        return Handshake(name, failed="its name cannot be found")
    except TimeoutError:
        return Handshake(name, failed=f"no answer within {_STEP:.0f} s")
    except (OSError, UnicodeError) as error:
        return Handshake(name, failed=getattr(error, "strerror", None) or type(error).__name__)


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
