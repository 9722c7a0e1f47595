"""What an installation can choose."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_MOST_DAYS = 36_500


def _days(value: object) -> object:
    if value is None or value == "off":
        return None
    if not (str(value).isdecimal() and str(value).isascii() and 1 <= int(str(value)) <= _MOST_DAYS):
        raise ValueError(f"must be a number of days from 1 to {_MOST_DAYS:,}, or off")
    return int(str(value))


Days: TypeAlias = Annotated[int | None, BeforeValidator(_days)]


class Fields(BaseSettings):
    """Environment names: `DISPATCHER_<NAME>`, except `DATABASE_URL` and `BROKER_URL`."""

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
            description="Valkey, or Redis 6.2 or newer, e.g. redis://:password@host:6379/0; rediss://... for TLS, "
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
    mails_per_hour: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description="Mails of the whole installation in an hour; besides, a fifth as many to contacts that are not "
            "confirmed. 0: no limit",
        ),
    ] = 1_000
    contact_domains: Annotated[
        str,
        Field(
            description="Domains of your own that contacts may be in although the public internet does not know them, "
            "comma-separated, e.g. corp.local; everything below them, too"
        ),
    ] = ""

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
            le=1_000_000,
            description="Requests that all worker children together keep in flight at once to one host and port, or to "
            "one address, over all webhooks; children have equal parts, at least one each, and accounts share them. "
            "Generous, so that webhooks that hang leave slots to others at the same host",
        ),
    ] = 1400
    circuit_breaker_failures: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            validation_alias=AliasChoices("DISPATCHER_CIRCUIT_BREAKER_FAILURES", "DISPATCHER_GATE_FAILURES"),
            description="Temporary failures in a row, over at least a minute, that open a webhook's circuit breaker: "
            "its deliveries then wait behind one trial request at a time. 0: no circuit breakers, each delivery "
            "follows its own schedule",
        ),
    ] = 5
    grace_seconds: Annotated[
        float, Field(gt=0, le=3600, description="Seconds for which a warm shutdown waits for requests in flight")
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
            "the names below it, e.g. hooks.internal.example. They are looked up as they are written, all others as "
            "absolute names"
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
    retention_bodies: Annotated[Days, Field(description="Days that captured answers are kept; off: for ever")] = 7
    retention_events: Annotated[Days, Field(description="The same for events, by whole weeks")] = 30
    retention_deliveries: Annotated[Days, Field(description="For closed deliveries, after their end")] = 30
    retention_attempts: Annotated[Days, Field(description="For attempts and requests, by whole weeks")] = 30
    retention_audit: Annotated[Days, Field(description="For the audit log, by whole weeks")] = 30
    retention_notices: Annotated[Days, Field(description="For notices, after their error was last seen")] = 30

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
    console_url: Annotated[
        str,
        Field(
            description="The address at which people reach the console and the portal, e.g. https://hooks.example.com: "
            "links to them begin with it"
        ),
    ] = ""
    console: Annotated[
        Literal["off", "on"],
        Field(
            description="Whether the API's processes serve the console, for operators, and the portal, for their "
            "customers; on needs DISPATCHER_CONSOLE_URL"
        ),
    ] = "off"
    portal_ancestors: Annotated[
        str,
        Field(
            description="Origins whose pages may show the portal in a frame, comma-separated, e.g. "
            "https://app.example.com"
        ),
    ] = ""
    portal_return_origins: Annotated[
        str,
        Field(description="Origins that the portal may lead back to, comma-separated, e.g. https://app.example.com"),
    ] = ""
    portal_name: Annotated[
        str,
        Field(description="What the portal calls itself: the platform's name. Empty: dispatcher", max_length=60),
    ] = ""
    portal_logo: Annotated[
        Path | None,
        Field(description="The platform's logo for the portal: the path of an .svg or .png file of up to 200 kB"),
    ] = None
    portal_accent: Annotated[
        str,
        Field(
            description="The colour of the portal's buttons and links, e.g. #0b57c9: dark enough to be read on white "
            "(4.5:1). On dark pages a lighter one is made of it"
        ),
    ] = ""
    trusted_proxies: Annotated[
        str,
        Field(
            description="Networks of the reverse proxies before the API, comma-separated: what these say in "
            "X-Forwarded-For and X-Forwarded-Proto is believed"
        ),
    ] = "127.0.0.1"
    api_requests_per_minute: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000_000,
            description="Requests one API key may make in a minute, over all API processes; 0: no limit",
        ),
    ] = 60_000  # a third of what one API process takes of single events
    account_limits: Annotated[
        str,
        Field(
            description="Limits of the accounts that have none of their own, where they are to differ from the "
            "defaults, comma-separated, e.g. webhooks=5000,events_per_day=off. `dispatcher account limits NAME` lists "
            "them"
        ),
    ] = ""

    metrics_token: Annotated[
        SecretStr,
        Field(
            description="What Prometheus shows as Bearer token to read metrics: 16 characters at least. Empty: the API "
            "has no /metrics, and nodes show theirs on loopback only",
        ),
    ] = SecretStr("")

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

    ignore_unknown_settings: Annotated[
        bool,
        Field(
            description="Start although there are DISPATCHER_ variables that are not known, with a warning about each: "
            "for the way back to an older version"
        ),
    ] = False

    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="Format of log lines; auto: console at a terminal, otherwise json"),
    ] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="Minimum log level")] = "info"
