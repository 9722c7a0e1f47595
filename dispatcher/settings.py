"""The one settings object: typed, validated at start, printed masked. Nothing else reads settings from `os.environ`."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

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
from dispatcher.errors import ConfigurationError
from dispatcher.masking.refusals import refusal

CONNECTION_FILE = "engine.env"
LOCK_FILE = "engine.lock"
RENAMED = {"DISPATCHER_GATE_FAILURES": "DISPATCHER_CIRCUIT_BREAKER_FAILURES"}  # old names are still read

UNVERIFIED_BROKER = (
    "BROKER_URL has the certificate of the broker not checked: whoever is in between can read the password. Give "
    "ssl_ca_certs=FILE instead"
)

_OWN_ADDRESS = re.compile(
    r"https?://(?P<host>[A-Za-z0-9.-]+|\[(?P<ipv6>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\])(:(?P<port>[0-9]{1,5}))?"
    r"(/(?!\.\.?(/|\Z))[A-Za-z0-9._~-]+)*"
)

_LISTS: dict[str, Callable[[str], object]] = {
    "allowed_networks": read_networks,
    "allowed_hosts": read_hosts,
    "allowed_ports": read_ports,
    "egress_ranges": read_networks,
}


class Settings(BaseSettings):
    """What an installation can choose. Environment names: `DISPATCHER_<NAME>`, except `DATABASE_URL` and `BROKER_URL`.

    What neither the environment nor an argument sets is taken from the connection file of a locally started engine
    (`engine.env` in its data directory) while that runs, unless the environment names the database of another engine.
    """

    model_config = SettingsConfigDict(
        env_prefix="DISPATCHER_", extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True
    )

    database_url: Annotated[
        SecretStr,
        Field(
            validation_alias=AliasChoices("DATABASE_URL", "database_url"),
            description="PostgreSQL 15 or newer, e.g. postgresql://user:password@host/database. Of several hosts, "
            "host1:5432,host2:5432, the one that takes writes is used",
            examples=["postgresql://dispatcher:PASSWORD@127.0.0.1:5432/dispatcher"],
        ),
    ]
    database_pooler: Annotated[
        bool,
        Field(
            description="DATABASE_URL leads to PgBouncer or another pooler: nothing is kept in a session. "
            "`dispatcher migrate` needs PostgreSQL's own address"
        ),
    ] = False
    broker_url: Annotated[
        SecretStr,
        Field(
            validation_alias=AliasChoices("BROKER_URL", "broker_url"),
            description="Redis or Valkey, e.g. redis://:password@host:6379/0; rediss://... for TLS, "
            "redis+socket:///path for a Unix socket, "
            "sentinel://host:26379;sentinel://host:26379/0?master_name=NAME for Sentinel",
            examples=["redis://:PASSWORD@127.0.0.1:6379/0"],
        ),
    ]
    encryption_keys: Annotated[
        SecretStr,
        Field(
            description="Fernet keys for secrets at rest, comma-separated, newest first; needed by workers, API and "
            "CLI, not by producers. Make one with `dispatcher secrets generate-key`",
            examples=[""],
        ),
    ] = SecretStr("")

    smtp_host: Annotated[
        str, Field(description="Mail server for problem notices; empty: notices are counted, not sent")
    ] = ""
    smtp_port: Annotated[int, Field(ge=1, le=65535, description="Port of the mail server")] = 25
    smtp_security: Annotated[
        Literal["none", "starttls", "tls"], Field(description="How the connection to the mail server is protected")
    ] = "starttls"
    smtp_username: Annotated[str, Field(description="User at the mail server; empty: no login")] = ""
    smtp_password: Annotated[SecretStr, Field(description="Password at the mail server")] = SecretStr("")
    mail_from: Annotated[str, Field(description="Sender of problem notices")] = "Webhooks <webhooks@localhost>"
    mails_per_contact_hour: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description="Mails to one contact address in an hour, over all webhooks that name it; more mails wait, and "
            "the next mail says how many. 0: no limit",
        ),
    ] = 20
    mails_per_webhook_minute: Annotated[
        int, Field(ge=0, le=10_000, description="Mails about one webhook in a minute; more wait, too. 0: no limit")
    ] = 1

    transport: Annotated[
        Literal["auto", "curl", "requests"],
        Field(description="What sends the requests; auto: curl if pycurl is installed, otherwise requests"),
    ] = "auto"
    max_in_flight: Annotated[
        int | None,
        Field(
            ge=1,
            le=5000,
            description="Requests one worker child keeps in flight at once; default: 1500 with curl, 64 with requests "
            "(a thread each, 1000 at most)",
        ),
    ] = None
    max_per_destination: Annotated[
        int,
        Field(
            ge=1,
            description="Requests that all worker children together keep in flight at once to one host and port, or to "
            "one address, over all webhooks; children have equal parts, at least one each, and accounts share them. "
            "Generous, so that webhooks that hang leave slots to others at the same host",
        ),
    ] = 1400
    circuit_breaker_failures: Annotated[
        int,
        Field(
            ge=0,
            validation_alias=AliasChoices("DISPATCHER_CIRCUIT_BREAKER_FAILURES", "DISPATCHER_GATE_FAILURES"),
            description="Temporary failures in a row, over at least a minute, that open a webhook's circuit breaker: "
            "its deliveries then wait behind one trial request at a time. 0: no circuit breakers, each delivery "
            "follows its own schedule",
        ),
    ] = 5
    grace_seconds: Annotated[
        float, Field(gt=0, description="How long a warm shutdown waits for requests in flight")
    ] = 35.0
    ca_bundle: Annotated[
        Path | None, Field(description="PEM file of certificate authorities to trust; default: the system's")
    ] = None
    tls_minimum: Annotated[
        Literal["1.2", "1.3"], Field(description="The oldest version of TLS that receivers may use")
    ] = "1.2"
    https_only: Annotated[bool, Field(description="Never call a receiver over plain http")] = False
    allowed_networks: Annotated[
        str,
        Field(
            description="Networks that callbacks may go to although their addresses are not public, comma-separated, "
            "e.g. 10.1.2.0/24, fd12:3456::/32. A cloud's metadata address must be listed by itself"
        ),
    ] = ""
    allowed_hosts: Annotated[
        str,
        Field(
            description="Host names that may lead to addresses that are not public, comma-separated; each includes "
            "the names below it, e.g. hooks.internal.example"
        ),
    ] = ""
    allowed_ports: Annotated[
        str,
        Field(
            description="Ports that callbacks may go to although they are below 1024 or a well-known service's, "
            "comma-separated"
        ),
    ] = ""
    unsafe_allow_any_address: Annotated[
        bool,
        Field(
            description="For development only: callbacks may go to any address and port, including this machine and "
            "its network. Every process logs a warning about it at start"
        ),
    ] = False
    egress_ranges: Annotated[
        str,
        Field(
            description="Networks that callbacks come from, comma-separated: the public addresses of this "
            "installation's workers, for customers who configure firewalls. They are only shown and change nothing"
        ),
    ] = ""
    idempotency_hours: Annotated[
        float, Field(gt=0, le=87_600, description="How many hours an idempotency key is remembered, at least")
    ] = 7 * 24.0
    time_scale: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Shortens retry schedule and timeouts, for demonstrations and tests (1: real time). "
            "Quiet periods are never scaled",
        ),
    ] = 1.0

    public_url: Annotated[
        str,
        Field(
            description="The address at which customers reach the API, e.g. https://hooks.example.com/api: URLs of our "
            "own in answers begin with it. Empty: with what each request says of scheme, host and root path"
        ),
    ] = ""
    api_requests_per_minute: Annotated[
        int, Field(ge=0, description="Requests one API key may make in a minute, over all API processes; 0: no limit")
    ] = 60_000  # a third of what one API process takes of single events

    metrics_token: Annotated[
        SecretStr | None,
        Field(
            min_length=16,
            description="What Prometheus shows as Bearer token to read metrics, e.g. of `openssl rand -hex 32`. "
            "Without one the API has no /metrics, and nodes show theirs on loopback only",
        ),
    ] = None

    flower_user: Annotated[str, Field(pattern=r"^[!-9;-~]+$", description="User name that Flower asks for")] = (
        "dispatcher"
    )
    flower_password: Annotated[
        SecretStr,
        Field(
            description="Password that Flower asks for; it does not start without one. Printable ASCII", examples=[""]
        ),
    ] = SecretStr("")
    flower_db: Annotated[
        Path | None,
        Field(description="File that keeps Flower's task history across restarts; default: it is kept in memory only"),
    ] = None

    masked_members: Annotated[
        str,
        Field(
            description="Members of messages whose values are shown as ***, at any depth and in any case, "
            "comma-separated; empty: none. What is sent is never masked"
        ),
    ] = (
        "from,to,cc,bcc,sender,recipient,recipients,originator,destination,address,phone,phone_number,phoneNumber,"
        "mobile,msisdn,number,identity,email,finalSource,finalDestination,body,text,message,content,caption"
    )

    log_format: Annotated[Literal["json", "console"], Field(description="Format of log lines")] = "json"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="Minimum log level")] = "info"

    @field_validator("database_url")
    @classmethod
    def _psycopg2(cls, url: SecretStr) -> SecretStr:
        # A bare postgresql:// means psycopg 3 to SQLAlchemy 2.1.
        scheme, separator, rest = url.get_secret_value().partition("://")
        if scheme not in {"postgresql", "postgres", "postgresql+psycopg2"} or not separator:
            raise ValueError("must be a PostgreSQL URL: postgresql://user:password@host/database")
        return SecretStr(f"postgresql+psycopg2://{rest}")

    @field_validator("allowed_networks", "allowed_hosts", "allowed_ports", "egress_ranges")
    @classmethod
    def _readable_list(cls, text: str, info: ValidationInfo) -> str:
        _LISTS[info.field_name or ""](text)
        return text

    @field_validator("public_url")
    @classmethod
    def _address_of_ours(cls, url: str) -> str:
        if url and not _is_own_address(url):
            raise ValueError(
                "must be http:// or https:// with a host, perhaps a port and a path, and no slash at its end: "
                "https://hooks.example.com/api"
            )
        return url

    @field_validator("ca_bundle", "flower_db", "max_in_flight", "metrics_token", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value  # a line `NAME=` in an environment file means: not set

    @field_validator("broker_url")
    @classmethod
    def _readable_address(cls, url: SecretStr) -> SecretStr:
        read_broker_url(url.get_secret_value())
        return url

    @property
    def warnings(self) -> list[str]:
        """What the operator should change, one sentence each; every process logs them at start."""
        found = [f"{old} is called {new} now: rename it" for old, new in RENAMED.items() if old in _given()]
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
        return AddressPolicy(
            networks=read_networks(self.allowed_networks),
            hosts=read_hosts(self.allowed_hosts),
            ports=read_ports(self.allowed_ports),
            https_only=self.https_only,
            any_address=self.unsafe_allow_any_address,
        )


def environment_name(field: str) -> str:
    """The environment variable that sets a field."""
    return field.upper() if field in {"database_url", "broker_url"} else f"DISPATCHER_{field.upper()}"


def default_data_dir() -> Path:
    """Where a locally started engine keeps its data: `DISPATCHER_DATA_DIR`, or the user's data folder."""
    if chosen := os.environ.get("DISPATCHER_DATA_DIR"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "dispatcher"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "dispatcher"


def read_settings() -> Settings:
    """The settings as the environment and the connection file have them now. Each process reads them once at start and
    passes them on. Raises ConfigurationError naming each variable that is wrong."""
    try:
        return Settings(_env_file=_connection_file())
    except ValidationError as error:
        raise wrong_settings(error) from None


def wrong_settings(error: ValidationError) -> ConfigurationError:
    """The same in words: a line for each variable that is missing or wrong."""
    lines = [_explain(part["loc"], part) for part in error.errors(include_input=False)]
    return ConfigurationError("\n".join(lines))


def is_running(directory: Path) -> bool:
    """Whether an engine runs with this data directory: its lock is held. False as well if we may not open that."""
    try:
        lock = os.open(directory / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    import fcntl  # noqa: PLC0415 - not on Windows, where backends may enqueue

    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others who ask at the same time do not disturb
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _connection_file() -> Path | None:
    path = default_data_dir() / CONNECTION_FILE
    # A killed engine leaves all its lines there, and what `up --dev` allowed is only for as long as it runs.
    if not os.access(path, os.R_OK) or not is_running(path.parent):
        return None
    given, its_own = _given().get("DATABASE_URL"), dotenv_values(path, interpolate=False).get("DATABASE_URL")
    # Keys and permissions of one engine, of `up --dev` above all, are not for another one.
    return path if not given or given.replace("$", "%24") == its_own else None


def _given() -> dict[str, str]:
    """The environment by names in upper case, for they are read in any case."""
    return {name.upper(): value for name, value in os.environ.items()}


def _explain(place: tuple[int | str, ...], error: Mapping[str, Any]) -> str:
    name = str(place[0]) if place else "settings"
    variable = environment_name(name.lower()) if name.islower() else name
    if error["type"] == "missing":
        described = Settings.model_fields[variable.lower()].description
        return f"{variable} is not set: {described}. Or start an engine here with `./run.sh up`."
    for old, new in RENAMED.items():
        if new == variable and variable not in _given() and old in _given():
            return f"{old}, which is called {variable} now, {refusal(error)}"
    return f"{variable} {refusal(error)}"


def _is_own_address(url: str) -> bool:
    parts = _OWN_ADDRESS.fullmatch(url)
    if parts is None or int(parts["port"] or 80) not in range(1, 65536):
        return False
    host = parts["ipv6"] or parts["host"].lower()
    return is_address(host) or is_name(host)
