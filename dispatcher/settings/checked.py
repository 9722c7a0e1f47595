"""What is checked of each choice of an installation, and where choices are looked for."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from dispatcher.broker.address import read_broker_url
from dispatcher.egress.address_policy import (
    ANY_ADDRESS,
    DEVELOPMENT_MODE,
    AddressPolicy,
    is_address,
    is_name,
    read_hosts,
    read_networks,
    read_ports,
)
from dispatcher.settings.fields import Fields
from dispatcher.settings.files import check_readable
from dispatcher.settings.hosts import check_mail_host
from dispatcher.settings.keys import check_keys
from dispatcher.settings.names import ADDRESSES, RENAMED, unknown_names
from dispatcher.settings.placeholders import STILL, check_secret, is_placeholder_host
from dispatcher.settings.quotas import DEFAULTS, Limits, read_limits
from dispatcher.settings.secret_files import FromFile, Unusable, found_in_files, given_variables
from dispatcher.settings.urls import check_broker_url, check_database_url

UNVERIFIED_BROKER = (
    "BROKER_URL has the certificate of the broker not checked: whoever is in between can read the password. Give "
    "ssl_ca_certs=FILE instead"
)

_LARGEST_LOGO = 200_000  # bytes
_OWN_ADDRESS = re.compile(
    r"https?://(?P<host>[A-Za-z0-9.-]+|\[(?P<ipv6>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\])(:(?P<port>[0-9]{1,5}))?"
    r"(/(?!\.\.?(/|\Z))[A-Za-z0-9._~-]+)*"
)

_LEAST_TOKEN = 16  # characters: no one guesses them

_LISTS: dict[str, Callable[[str], object]] = {
    "allowed_networks": read_networks,
    "allowed_hosts": read_hosts,
    "contact_domains": read_hosts,
    "allowed_ports": read_ports,
    "egress_ranges": read_networks,
    "account_limits": read_limits,
    "trusted_proxies": read_networks,
}


class _FilesAndAddresses(PydanticBaseSettingsSource):
    """The secrets that are in files, and the two addresses, whichever of their names gives them."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # all of them are read at once

    def __call__(self) -> dict[str, Any]:
        given = given_variables()
        addresses = {name: given[name.upper()] for name in ADDRESSES if name.upper() in given}
        found = {**addresses, **found_in_files(given)}
        return {(name.upper() if name in ADDRESSES else name): value for name, value in found.items()}


class Settings(Fields):
    """What an installation can choose. Environment names: `DISPATCHER_<NAME>`; of the two addresses `DATABASE_URL` and
    `BROKER_URL`, or, before these, `DISPATCHER_DATABASE_URL` and `DISPATCHER_BROKER_URL`.

    What neither the environment nor an argument sets is taken from the connection file of a locally started engine
    (`engine.env` in its data directory) while that runs, unless the environment names the database of another engine.
    """

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's, for folders of files
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # To look through a connection file that there is not takes as long as to read the environment.
        published = (dotenv_settings,) if getattr(dotenv_settings, "env_file", None) else ()
        # Files come before the environment, so that one that contradicts it is seen.
        return init_settings, _FilesAndAddresses(settings_cls), env_settings, *published

    @field_validator("*", mode="before")
    @classmethod
    def _plain_text(cls, value: object) -> object:
        if isinstance(value, Unusable):
            raise ValueError(value.why)
        given = value.text if isinstance(value, FromFile) else value
        text = given.get_secret_value() if isinstance(given, SecretStr) else given
        if isinstance(text, str) and not text.isprintable():
            raise ValueError("must not contain line ends or other control characters")
        return given

    @field_validator("ca_bundle", "flower_db", "max_in_flight", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value  # a line `NAME=` in an environment file means: not set

    @field_validator("database_url")
    @classmethod
    def _leads_to_postgres(cls, url: SecretStr) -> SecretStr:
        # A bare postgresql:// means psycopg 3 to SQLAlchemy 2.1.
        return SecretStr(f"postgresql+psycopg2://{check_database_url(url.get_secret_value())}")

    @field_validator("broker_url")
    @classmethod
    def _leads_to_a_broker(cls, url: SecretStr) -> SecretStr:
        check_broker_url(url.get_secret_value())
        return url

    @field_validator("encryption_keys")
    @classmethod
    def _are_keys(cls, keys: SecretStr) -> SecretStr:
        check_keys(keys.get_secret_value())
        return keys

    @field_validator("smtp_host")
    @classmethod
    def _is_a_host(cls, host: str) -> str:
        check_mail_host(host)
        if is_placeholder_host(host):
            raise ValueError(f"{STILL}: put the name of your mail server there, or nothing")
        return host

    @field_validator("smtp_password")
    @classmethod
    def _is_of_a_user(cls, password: SecretStr, info: ValidationInfo) -> SecretStr:
        check_secret(password.get_secret_value())
        if password.get_secret_value() and info.data.get("smtp_username") == "":
            raise ValueError("is set, but DISPATCHER_SMTP_USERNAME is not: there would be no login")
        return password

    @field_validator("mail_from")
    @classmethod
    def _is_a_sender(cls, text: str) -> str:
        from dispatcher.egress.mail_addresses import read_sender  # noqa: PLC0415 - producers need none

        if is_placeholder_host(read_sender(text).domain):
            raise ValueError(f"{STILL}: its domain belongs to nobody")
        return text

    @field_validator(*_LISTS)
    @classmethod
    def _readable_list(cls, text: str, info: ValidationInfo) -> str:
        _LISTS[info.field_name or ""](text)
        return text

    @field_validator("public_url", "console_url")
    @classmethod
    def _address_of_ours(cls, url: str) -> str:
        if url and not _is_own_address(url):
            raise ValueError(
                "must be http:// or https:// with a host, perhaps a port and a path, and no slash at its end"
            )
        return url

    @field_validator("portal_ancestors", "portal_return_origins")
    @classmethod
    def _readable_origins(cls, text: str) -> str:
        from dispatcher.settings.origins import read_origins  # noqa: PLC0415 - producers show no pages

        read_origins(text)
        return text

    @field_validator("portal_name")
    @classmethod
    def _can_be_shown(cls, name: str) -> str:
        if not name.isprintable() or name != name.strip():
            raise ValueError("must have printable characters only, and no space at either end")
        return name

    @field_validator("portal_logo")
    @classmethod
    def _is_a_picture(cls, path: Path | None) -> Path | None:
        if path is not None:
            check_readable(str(path), "names a file that")
            if path.suffix.lower() not in {".svg", ".png"} or path.stat().st_size > _LARGEST_LOGO:
                raise ValueError(f"must name an .svg or .png file of up to {_LARGEST_LOGO // 1000} kB")
        return path

    @field_validator("portal_accent")
    @classmethod
    def _can_be_read(cls, colour: str) -> str:
        from dispatcher.settings.accents import check_accent  # noqa: PLC0415 - producers show no pages

        return check_accent(colour) if colour else ""

    @field_validator("console")
    @classmethod
    def _has_an_address(cls, value: str, info: ValidationInfo) -> str:
        if value == "on" and info.data.get("console_url") == "":
            raise ValueError("is on, but DISPATCHER_CONSOLE_URL is not set: links to the console would lead nowhere")
        return value

    @field_validator("ca_bundle")
    @classmethod
    def _readable_file(cls, path: Path | None) -> Path | None:
        if path is not None:
            check_readable(str(path), "names a file that")
        return path

    @field_validator("metrics_token")
    @classmethod
    def _cannot_be_guessed(cls, token: SecretStr) -> SecretStr:
        check_secret(token.get_secret_value())
        if 0 < len(token.get_secret_value()) < _LEAST_TOKEN:
            raise ValueError(f"must have {_LEAST_TOKEN} characters at least, or none")
        if not re.fullmatch("[!-~]*", token.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces: it is sent in a header")
        return token

    @field_validator("flower_password")
    @classmethod
    def _can_be_typed(cls, password: SecretStr) -> SecretStr:
        check_secret(password.get_secret_value())
        if not password.get_secret_value().isascii():
            raise ValueError("must be printable ASCII")
        return password

    @property
    def warnings(self) -> list[str]:
        """What the operator should change, one sentence each; every process logs them at start."""
        given = given_variables()
        found = [f"{old} is called {new} now: rename it" for old, new in RENAMED.items() if old in given]
        found += [f"{name} is not a setting, and is ignored" for name in unknown_names(given, Settings.model_fields)]
        if read_broker_url(self.broker_url.get_secret_value()).is_unverified:
            found.insert(0, UNVERIFIED_BROKER)
        if self.addresses.includes_this_machine:
            found.insert(0, DEVELOPMENT_MODE)
        if self.unsafe_allow_any_address:
            found.insert(0, ANY_ADDRESS)
        return found

    @property
    def addresses(self) -> AddressPolicy:
        """What the egress policy lets through."""
        from dispatcher.settings.own_addresses import is_own  # noqa: PLC0415 - producers call nobody

        return AddressPolicy(
            networks=read_networks(self.allowed_networks),
            hosts=read_hosts(self.allowed_hosts),
            ports=read_ports(self.allowed_ports),
            https_only=self.https_only,
            any_address=self.unsafe_allow_any_address,
            contact_domains=read_hosts(self.contact_domains),
            is_own=is_own,
        )

    @property
    def default_limits(self) -> Limits:
        """The quotas of an account that has none of its own."""
        return {**DEFAULTS, **read_limits(self.account_limits)}

    @property
    def egress_networks(self) -> list[str]:
        """Where callbacks come from; none if it is not set."""
        return [part.strip() for part in self.egress_ranges.split(",") if part.strip()]


def _is_own_address(url: str) -> bool:
    parts = _OWN_ADDRESS.fullmatch(url)
    if parts is None or int(parts["port"] or 80) not in range(1, 65536):
        return False
    host = parts["ipv6"] or parts["host"].lower()
    return is_address(host) or is_name(host)
