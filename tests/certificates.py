"""Makes a certificate authority and server certificates, good and bad, for one test run."""

import ssl
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A separate certificate authority; `bundle` is the file that makes a client trust it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    folder: Path
    bundle: Path

    def server(
        self, *names: str, expired: bool = False, whole_chain: bool = False, with_rsa: bool = False
    ) -> ssl.SSLContext:
        """A server's context with a certificate for these names or addresses, signed by this authority. With
        `whole_chain` the server also sends the authority's own certificate."""
        key = rsa.generate_private_key(65_537, 2_048) if with_rsa else ec.generate_private_key(ec.SECP256R1())
        end = datetime.now(UTC) + (-_DAY if expired else _DAY)
        certificate = _certificate(
            "server", key, issuer=self.certificate.subject, issuer_key=self.key, end=end, hosts=names
        )
        above = [self.certificate] if whole_chain else []
        return _context(self.folder / f"{certificate.serial_number:x}.pem", certificate, key, *above)

    def intermediate(self) -> "Authority":
        """An authority below this one. Its servers send only their own certificate: the chain is incomplete."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(
            "intermediate",
            key,
            issuer=self.certificate.subject,
            issuer_key=self.key,
            end=datetime.now(UTC) + _DAY,
            hosts=None,
        )
        return replace(self, certificate=certificate, key=key)


def new_authority(folder: Path, *, expired: bool = False) -> Authority:
    """An authority that keeps its files in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(
        "authority",
        key,
        issuer=_name("authority"),
        issuer_key=key,
        end=datetime.now(UTC) + (-_DAY if expired else _DAY),
        hosts=None,
    )
    bundle = folder / "authority.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(certificate, key, folder, bundle)


def self_signed_server(folder: Path, *names: str) -> ssl.SSLContext:
    """A server's context with a certificate that only the server itself has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(
        "server", key, issuer=_name("server"), issuer_key=key, end=datetime.now(UTC) + _DAY, hosts=names
    )
    return _context(folder / f"{certificate.serial_number:x}.pem", certificate, key)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    *,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    end: datetime,
    hosts: tuple[str, ...] | None,
) -> x509.Certificate:
    """A server's certificate for `hosts`, or an authority's certificate if `hosts` is None."""
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - 10 * _DAY)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=hosts is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(_usage(authority=hosts is None), critical=True)
    )
    if hosts is not None:
        alternatives = x509.SubjectAlternativeName([_host(host) for host in hosts])
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(alternatives, critical=False).add_extension(server, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _context(
    file: Path,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    *above: x509.Certificate,
) -> ssl.SSLContext:
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + b"".join(issuer.public_bytes(serialization.Encoding.PEM) for issuer in above)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
