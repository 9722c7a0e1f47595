"""Whom TLS trusts: one file or folder of certificates, checked before anything is sent."""

import re
import ssl
from pathlib import Path

import certifi

from dispatcher.errors import ConfigurationError

# Of OpenSSL's own list, without those for which the server chooses the numbers to compute with (Diffie-Hellman over a
# finite field): with 10,000 bits a handshake takes more than a second of CPU, in which no other request goes on.
CIPHERS = "DEFAULT:!kDHE"
CURVES = "X25519:P-256:P-384:P-521"  # the same for TLS 1.3

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # how OpenSSL finds a certificate in a folder


def trusted_authorities(ca_bundle: Path | None) -> Path:
    """The file `ca_bundle`, or the system's file or folder of certificates, or certifi's file.

    Raises ConfigurationError if it gives no certificate: every request with TLS would fail, and its receiver would be
    blamed.
    """
    if ca_bundle is not None:
        problem = _problem(ca_bundle)
        if problem is not None:
            raise ConfigurationError(
                f"DISPATCHER_CA_BUNDLE ({ca_bundle.absolute()}) {problem}: name a file with certificates of "
                "authorities in PEM form, or leave it empty to trust the system's"
            )
        return ca_bundle
    system = ssl.get_default_verify_paths()
    if system.capath and system.cafile is None and _folder_is_filled(Path(system.capath)):
        return Path(system.capath)  # a slim container image has an empty one, or none
    bundle = Path(system.cafile or certifi.where())
    problem = _problem(bundle)
    if problem is not None:
        raise ConfigurationError(
            f"the system's file of trusted certificates ({bundle}) {problem}: install the system's package "
            "ca-certificates, or set DISPATCHER_CA_BUNDLE to a file of your own"
        )
    return bundle


def tls_context(trusted: Path) -> ssl.SSLContext:
    """A client's context that trusts what `trusted_authorities` has found."""
    if trusted.is_dir():
        context = ssl.create_default_context(capath=trusted)
    else:
        context = ssl.create_default_context(cafile=trusted)
    named = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    context.set_ciphers(":".join(name for name in named if not name.startswith("DHE-")))  # see CIPHERS
    return context


def _problem(bundle: Path) -> str | None:
    """Why the file cannot be used; None if it can."""
    try:
        if not bundle.is_file():
            return "is a folder" if bundle.is_dir() else "is not a file" if bundle.exists() else "does not exist"
        content = bundle.read_bytes()
    except PermissionError:
        return "may not be read by this process"
    except (OSError, ValueError):
        return "cannot be read"
    return _problem_of(content, bundle) if content.strip() else "is empty"


def _problem_of(content: bytes, bundle: Path) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=bundle)
    except ssl.SSLError:
        return "holds a damaged certificate" if b"-----BEGIN CERTIFICATE-----" in content else "holds no certificate"
    return None if context.cert_store_stats()["x509"] else "holds no certificate"


def _folder_is_filled(folder: Path) -> bool:
    try:
        return any(_HASHED.fullmatch(file.name) and _problem(file) is None for file in folder.iterdir())
    except OSError:
        return False
