"""A trust store that gives no certificate is refused before anything is sent, and the error says what is wrong."""

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import certifi
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dispatcher.errors import ConfigurationError
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from dispatcher.transport.choice import check_transport, new_transport
from dispatcher.transport.trust import tls_context, trusted_authorities
from dispatcher.webhooks.url_verification import AT_ONCE, try_url
from tests.certificates import Authority, new_authority
from tests.unit.dispatcher.transport.test_choice import settings
from workers.notices.mailer import Mailer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return new_authority(tmp_path)


def _key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _written(content: bytes) -> Callable[[Path, Authority], None]:
    return lambda path, _: path.write_bytes(content) and None


def _der(path: Path, authority: Authority) -> None:
    path.write_bytes(authority.certificate.public_bytes(serialization.Encoding.DER))


def _one_good_one_garbage(path: Path, authority: Authority) -> None:
    path.write_bytes(authority.bundle.read_bytes() + GARBAGE)


GARBAGE = b"-----BEGIN CERTIFICATE-----\nnothing of the kind\n-----END CERTIFICATE-----\n"
WRONG: dict[str, tuple[Callable[[Path, Authority], None], str]] = {
    "missing": (lambda path, _: None, "does not exist"),
    "a folder": (lambda path, _: path.mkdir(), "is a folder"),
    "a pipe": (lambda path, _: os.mkfifo(path), "is not a file"),
    "a link to nothing": (lambda path, _: path.symlink_to("nowhere"), "does not exist"),
    "a link to itself": (lambda path, _: path.symlink_to(path), "cannot be read|does not exist"),
    "empty": (_written(b""), "is empty"),
    "blank lines": (_written(b"\n \n"), "is empty"),
    "another text": (_written(b"trust everybody\n"), "holds no certificate"),
    "a key": (_written(_key()), "holds no certificate"),
    "DER": (_der, "holds no certificate"),
    "garbage between markers": (_written(GARBAGE), "holds a damaged certificate"),
    "cut short": (_written(b"-----BEGIN CERTIFICATE-----\nMIIB"), "holds a damaged certificate"),
    "one good, one garbage": (_one_good_one_garbage, "holds a damaged certificate"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_a_trust_store_without_certificates_is_refused_by_name_path_and_reason(
    tmp_path: Path, authority: Authority, name: str, transport: str
) -> None:
    make, reason = WRONG[name]
    path = tmp_path / "trusted"
    make(path, authority)
    wrong = settings(transport=transport).model_copy(update={"ca_bundle": path})  # as if it changed after the start
    for refuses in (check_transport, new_transport):
        with pytest.raises(ConfigurationError, match=rf"DISPATCHER_CA_BUNDLE \({path}\) ({reason}): name a file"):
            refuses(wrong)


def test_a_file_that_may_not_be_read_is_refused(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    # For root, whom the suite may run as, every file is readable.
    def refused(_: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(ConfigurationError, match="may not be read by this process"):
        trusted_authorities(authority.bundle)


def test_the_path_is_reported_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=rf"\({tmp_path}/trusted.pem\) does not exist"):
        trusted_authorities(Path("trusted.pem"))


@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_a_file_with_certificates_is_taken_whatever_else_stands_in_it(authority: Authority, transport: str) -> None:
    with_more = b"# ours\n" + authority.bundle.read_bytes() + _key() + authority.bundle.read_bytes()
    authority.bundle.write_bytes(with_more)
    assert trusted_authorities(authority.bundle) == authority.bundle
    new_transport(settings(ca_bundle=authority.bundle, transport=transport)).close()


def _system(monkeypatch: pytest.MonkeyPatch, *, file: Path | None = None, folder: Path | None = None) -> None:
    paths = ssl.DefaultVerifyPaths(file and str(file), folder and str(folder), "", "", "", "")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)


def test_without_a_setting_the_systems_file_or_folder_is_trusted(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "0a1b2c3d.0").symlink_to(authority.bundle)
    _system(monkeypatch, file=authority.bundle, folder=folder)
    assert trusted_authorities(None) == authority.bundle
    _system(monkeypatch, folder=folder)
    assert trusted_authorities(None) == folder
    tls_context(folder)


@pytest.mark.parametrize("inside", [[], ["README"], ["0a1b2c3d.0"]], ids=["nothing", "other files", "a dead link"])
def test_a_system_without_certificates_trusts_those_that_come_with_the_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: list[str]
) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    for name in inside:
        (folder / name).symlink_to("nowhere")
    _system(monkeypatch, folder=folder)
    assert trusted_authorities(None) == Path(certifi.where())
    _system(monkeypatch)
    assert trusted_authorities(None) == Path(certifi.where())


def test_no_trust_store_anywhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _system(monkeypatch)
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "gone.pem"))
    for refuses in (check_transport, new_transport):
        with pytest.raises(ConfigurationError, match=r"gone\.pem\) does not exist: install .*ca-certificates"):
            refuses(settings())
    empty = tmp_path / "ca-certificates.crt"
    empty.touch()
    _system(monkeypatch, file=empty)
    with pytest.raises(ConfigurationError, match=r"ca-certificates\.crt\) is empty: install"):
        check_transport(settings())


def mail(**changes: object) -> Settings:
    return settings(smtp_host="mail.test", **changes).model_copy(update={"ca_bundle": Path("/nowhere.pem")})


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mailer_with_nobody_to_trust_is_refused_before_any_mail(security: str) -> None:
    with pytest.raises(ConfigurationError, match=r"DISPATCHER_CA_BUNDLE \(/nowhere.pem\) does not exist"):
        Mailer(mail(smtp_security=security))
    Mailer(mail(smtp_security="none"))


def test_a_url_verification_that_has_no_transport_takes_no_turn_from_the_next() -> None:
    for _ in range(AT_ONCE + 1):
        with pytest.raises(ConfigurationError, match="DISPATCHER_CA_BUNDLE"):
            try_url("https://example.com/", None, None, Installation(mail()), uuid4())  # type: ignore[arg-type]
