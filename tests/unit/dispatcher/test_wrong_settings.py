"""Wrong values of settings: none is taken, each is told by its variable with what is right, and no secret is shown.
Right ones that look odd are taken."""

import json
import os
import re
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path

import pytest

from dispatcher.db.retention.kinds import Kind
from dispatcher.errors import WrongSettings
from dispatcher.settings import Settings, environment_name, read_settings
from dispatcher.settings.wording import example_of
from tests.each import each
from tests.forked import run

HIDDEN = "hunter2-7Kq"  # a secret: part of many wrong values, and of no error
# The same in each process of the suite.
ENCRYPTION_KEY, OTHER_KEY, THIRD_KEY = (
    urlsafe_b64encode(text * 4).decode() for text in (b"our  key", b"another ", b"a third ")
)
URL, BROKER = "DATABASE_URL", "BROKER_URL"

WORKING = {
    URL: f"postgresql://user:{HIDDEN}@127.0.0.1/name",
    BROKER: f"redis://:{HIDDEN}@127.0.0.1:6379/0",
    "DISPATCHER_ENCRYPTION_KEYS": ENCRYPTION_KEY,
    "DISPATCHER_SMTP_USERNAME": "dispatcher",
}

WRONG: dict[str, list[str]] = {
    URL: [
        "",
        "postgres",
        f"mysql://user:{HIDDEN}@db/name",
        f"postgresql+asyncpg://user:{HIDDEN}@db/name",
        f"postgresql:/user:{HIDDEN}@db/name",
        f"user:{HIDDEN}@db/name",
        f"postgresql://user:{HIDDEN}@db:port/name",
        f"postgresql://user:{HIDDEN}@db:0/name",
        f"postgresql://user:{HIDDEN}@db:65536/name",
        f"postgresql://user:{HIDDEN}@db:5432:5432/name",
        f"postgresql://user:{HIDDEN}@:@db/name",
        f"postgresql://user:{HIDDEN}@{HIDDEN}@db/name",
        f"postgresql://user:{HIDDEN}@db,db2:x/name",
        f"postgresql://user:{HIDDEN}@db/name#fragment",
        f"postgresql://user:{HIDDEN}@db name/name",
        f"postgresql://user:{HIDDEN}@127.0.0.256/name",
        f"postgresql://user:{HIDDEN}@[::zz]/name",
        f"postgresql://user:{HIDDEN}@db/name?sslmode=yes",
        f"postgresql://user:{HIDDEN}@db/name?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
        f"postgresql://user:{HIDDEN}@db/name?connect_timeout=soon",
        f"postgresql://user:{HIDDEN}@db/name?sslmod=require",
        f"postgresql://user:{HIDDEN}@db/name?connect_timeout=3&cursor_factory=x",
        f"postgresql://user:{HIDDEN}@db/name?port%3D5432%20host=x",
        f"postgresql://user:{HIDDEN}@db/name%00more",
        "postgresql://user@db/name?password=changeme",
        f"postgresql://user:{HIDDEN}@/name?host=db&port=junk",
        f"postgresql://user:{HIDDEN}@/name?host=db:junk",
        f"postgresql://user:{HIDDEN}@db/name\n",
        "postgresql://user:PASSWORD@db/name",
        "postgresql://user:changeme@db/name",
        "postgresql://user:change-me@db/name",
        "postgresql://user:<password>@db/name",
        "postgresql://user:${DB_PASSWORD}@db/name",
        f"postgresql://user:{HIDDEN}@db.example.com/name",
    ],
    BROKER: [
        "",
        "valkey.internal:6379",
        f"amqp://user:{HIDDEN}@mq",
        f"unix:///run/{HIDDEN}.sock",
        f"valkey://:{HIDDEN}@mq",
        f"redis://:{HIDDEN}@mq:port/0",
        f"redis://:{HIDDEN}@mq:0/0",
        f"redis://:{HIDDEN}@mq:65536/0",
        f"redis://:{HIDDEN}#@mq/0",
        f"redis://:{HIDDEN}/a@mq/0",
        f"redis://:{HIDDEN}@mq/zero",
        f"redis://:{HIDDEN}@mq mq/0",
        f"redis://:{HIDDEN}@a,b/0",
        f"redis://:{HIDDEN}@mq/0?ssl=true",
        f"rediss://:{HIDDEN}@mq/0?ssl_cert_reqs=maybe",
        f"rediss://:{HIDDEN}@mq/0?ssl_ca_certs=/nowhere/ca.pem",
        f"sentinel://:{HIDDEN}@mq:26379/0",
        f"redis+socket://:{HIDDEN}@run/valkey.sock",
        "redis://:PASSWORD@mq/0",
        "redis://:change_me@mq/0",
        "redis://mq.example.org/0",
    ],
    "DISPATCHER_ENCRYPTION_KEYS": [
        HIDDEN,
        "changeme",
        ",",
        ENCRYPTION_KEY[:-1],
        f"{ENCRYPTION_KEY}=",
        f"{ENCRYPTION_KEY} {OTHER_KEY}",
        f"{ENCRYPTION_KEY};{OTHER_KEY}",
        f"{ENCRYPTION_KEY},{OTHER_KEY[:-2]}",
        f"{ENCRYPTION_KEY},{OTHER_KEY},{ENCRYPTION_KEY}",
        f"'{ENCRYPTION_KEY}'",
        "A" * 43 + "=",
        f"{ENCRYPTION_KEY}\n{OTHER_KEY}",
    ],
    "DISPATCHER_SMTP_HOST": [
        "mail:587",
        "smtp://mail",
        f"smtp://user:{HIDDEN}@mail",
        "mail.example.com",
        "smtp.your.domain",
        "mail,mail2",
        "my mail",
        "[::1]",
        "127.0.0.256",
        "mail..org",
        "-",
    ],
    "DISPATCHER_SMTP_PORT": ["0", "65536", "-1", "smtp", "587/tcp", "25.5", "", "25,587"],
    "DISPATCHER_SMTP_SECURITY": ["ssl", "TLS", "true", ""],
    "DISPATCHER_METRICS_TOKEN": [
        "too-short-token",
        "<the metrics token>",
        f"{HIDDEN}\n",
        "changeme-changeme",
        "PLEASE_CHANGE_ME_NOW",
        f"{HIDDEN} {HIDDEN}",
        f"{HIDDEN}-pässword",
    ],
    "DISPATCHER_SMTP_PASSWORD": ["changeme", "PASSWORD", f"{HIDDEN}\n", "********", "<password>"],
    "DISPATCHER_MAIL_FROM": [
        "",
        "Webhooks",
        "a@b@c",
        "x@y.test\r\nBcc: z@z.test",
        "a@x.test, b@x.test",
        "Wé <wé@x.test>",
        "=?utf-8?q?a=0d=0aBcc:_evil@evil.test?=",
        "(" * 1000 + "a@x.test",
        "Webhooks <webhooks@example.com>",
        "webhooks@your.domain",
        "Webhooks webhooks@x.test",
    ],
    "DISPATCHER_MAILS_PER_CONTACT_HOUR": ["-1", "many", "1e3", "10001"],
    "DISPATCHER_TRANSPORT": ["libcurl", "CURL", ""],
    "DISPATCHER_MAX_IN_FLIGHT": ["0", "5001", "all"],
    "DISPATCHER_MAX_PER_DESTINATION": ["0", "9" * 30, "-5"],
    "DISPATCHER_CIRCUIT_BREAKER_FAILURES": ["-1", "5.5", "9" * 30],
    "DISPATCHER_GRACE_SECONDS": ["0", "-1", "inf", "nan", "1e9", "35s", "3601", ""],
    "DISPATCHER_CA_BUNDLE": ["/nowhere/ca.pem", "/", "-----BEGIN CERTIFICATE-----"],
    "DISPATCHER_TLS_MINIMUM": ["1.1", "1", "TLSv1.2"],
    "DISPATCHER_HTTPS_ONLY": ["maybe", "2", ""],
    "DISPATCHER_ALLOWED_NETWORKS": ["10.0.0.1/8", "localhost", "10.0.0.0/33", "10.0.0.0-10.0.0.255"],
    "DISPATCHER_ALLOWED_HOSTS": ["https://hooks.test", "*.hooks.test", "hooks.test:443"],
    "DISPATCHER_CONTACT_DOMAINS": ["@corp.local", "*.corp.local", "ops@corp.local"],
    "DISPATCHER_ACCOUNT_LIMITS": ["webhooks", "webhooks=0", "hooks=1", "webhooks=1,webhooks=2", "keys=-1"],
    "DISPATCHER_ALLOWED_PORTS": ["http", "0", "65536", "1-1023"],
    "DISPATCHER_EGRESS_RANGES": ["203.0.113.1/24", "our office"],
    "DISPATCHER_TRUSTED_PROXIES": ["*", "proxy", "10.0.0.1/8", "unix:"],
    "DISPATCHER_IDEMPOTENCY_HOURS": ["0", "-1", "inf", "nan", "87601", "7d"],
    **{
        f"DISPATCHER_RETENTION_{kind.name}": ["0", "-1", "1.5", "36501", "ever", "Off", "7d", "\u0663"] for kind in Kind
    },
    "DISPATCHER_TIME_SCALE": ["0", "1.1", "nan", "-inf"],
    "DISPATCHER_PUBLIC_URL": [
        "hooks.test",
        "ftp://hooks.test",
        "https://hooks.test/",
        f"https://u:{HIDDEN}@hooks.test",
    ],
    "DISPATCHER_CONSOLE_URL": ["hooks.test", "https://hooks.test/"],
    "DISPATCHER_CONSOLE": ["true", "on"],
    "DISPATCHER_PORTAL_ANCESTORS": [
        "app.test",
        "https://app.test/",
        "https://app.test/page",
        "https://*.app.test",
        "https://app.test?x",
        f"https://u:{HIDDEN}@app.test",
        "https://app.test:0",
        "https://app.test; script-src *",
        "'self'",
        "javascript:x",
    ],
    "DISPATCHER_PORTAL_RETURN_ORIGINS": ["https://app.test, ftp://app.test"],
    "DISPATCHER_PORTAL_NAME": ["Acme\nInc", " Acme", "a" * 61],
    "DISPATCHER_PORTAL_LOGO": ["/nowhere/logo.svg", __file__],
    "DISPATCHER_PORTAL_ACCENT": ["blue", "#0b57c9; }", "#0b5", "#ffd400"],
    "DISPATCHER_API_REQUESTS_PER_MINUTE": ["-1", "60k", "9" * 30],
    "DISPATCHER_FLOWER_USER": ["", "a:b", "a b", "ä"],
    "DISPATCHER_FLOWER_PASSWORD": ["pässword", f"{HIDDEN}\t", "changeme", "PASSWORD"],
    "DISPATCHER_MASKED_MEMBERS": ["body\ntext"],
    "DISPATCHER_LOG_FORMAT": ["text", "JSON"],
    "DISPATCHER_LOG_LEVEL": ["INFO", "trace", "info\r"],
    "DISPATCHER_IGNORE_UNKNOWN_SETTINGS": ["maybe"],
    "DISPATCHER_DATABASE_POOLER": ["pgbouncer"],
}

RIGHT: dict[str, list[str]] = {
    URL: [
        "postgresql://",
        "postgres://db",
        "postgresql://user@db/name",
        "postgresql://user:a%40b%23%2F%25@db/name",
        "postgresql://user:a#b?c/d%@db/name",
        "postgresql://user:password@my_app_db_1:5432/name",
        "postgresql://user:word@[::1]:5432/name",
        "postgresql://user:word@[fe80::1]/name",
        "postgresql://user:word@db1:5432,db2,[::1]:5433/name?target_session_attrs=any",
        "postgresql://user:word@/name?host=/var/run/postgresql",
        "postgresql://user:word@/name?host=db1,db2&port=5432,5433",
        "postgresql://user:word@/name?host=db1:5432&host=db2:5432",
        "postgresql://user:word@db.internal./name?sslmode=verify-full&sslrootcert=system&application_name=x",
        "postgresql+psycopg2://user:word@db/name?options=-c%20search_path%3Da",
    ],
    BROKER: [
        "redis://",
        "redis://mq",
        "redis://my_app_valkey_1:6379/15",
        "redis://user:a%40b%23@[::1]:6379/0",
        "redis+socket:///run/valkey/valkey.sock?virtual_host=2",
        "rediss://:word@mq:6380/0?ssl_cert_reqs=none",
        "sentinel://:word@a:26379;sentinel://b:26379/0?master_name=main",
    ],
    "DISPATCHER_ENCRYPTION_KEYS": ["", ENCRYPTION_KEY, f" {ENCRYPTION_KEY} , {OTHER_KEY},", "+/" + ENCRYPTION_KEY[2:]],
    "DISPATCHER_SMTP_HOST": [
        "",
        "localhost",
        "mail",
        "mail_server_1",
        "smtp.mail.test.",
        "10.0.0.1",
        "::1",
        "fd00::25",
    ],
    "DISPATCHER_METRICS_TOKEN": ["", "16-letters-long."],
    "DISPATCHER_SMTP_PASSWORD": ["", "password", "pä ss#$%"],
    "DISPATCHER_MAIL_FROM": ["hooks@localhost", '"Grüße, von uns" <hooks@we.test>', "Hooks <a+b@we.test>"],
    "DISPATCHER_GRACE_SECONDS": ["0.5", "3600", "1e1"],
    "DISPATCHER_MAX_IN_FLIGHT": ["", "5000"],
    "DISPATCHER_CA_BUNDLE": ["", __file__],
    "DISPATCHER_ALLOWED_HOSTS": ["", "svc, my_host.internal"],
    "DISPATCHER_TRUSTED_PROXIES": ["", "127.0.0.1, ::1,10.0.0.0/8", "0.0.0.0/0"],
    "DISPATCHER_FLOWER_USER": ["admin@we.test"],
    "DISPATCHER_FLOWER_PASSWORD": ["", "a b:c#"],
    "DISPATCHER_HTTPS_ONLY": ["true", "1", "yes", "on", "False", "0"],
    "DISPATCHER_DATA_DIR": ["/nowhere"],
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path / "no-engine-here"))
    for variable, value in WORKING.items():
        monkeypatch.setenv(variable, value)


def pairs(table: dict[str, list[str]]) -> Iterable[tuple[str, str]]:
    return [(variable, value) for variable, values in table.items() for value in values]


def refused() -> WrongSettings:
    with pytest.raises(WrongSettings) as error:
        read_settings()
    return error.value


def test_the_tables_are_large_enough_to_tell_something() -> None:
    assert len(list(pairs(WRONG))) >= 100
    assert {environment_name(name) for name in Settings.model_fields} - WRONG.keys() == {
        "DISPATCHER_SMTP_USERNAME",  # any text is a name
        "DISPATCHER_FLOWER_DB",  # Flower alone can say whether it can write there
        "DISPATCHER_MAILS_PER_WEBHOOK_MINUTE",  # as for each contact
        "DISPATCHER_MAILS_PER_HOUR",
        "DISPATCHER_UNSAFE_ALLOW_ANY_ADDRESS",  # as the others that are true or false
    }


@each("variable, value", pairs(WRONG))
def test_a_wrong_value_is_told_by_its_variable_with_a_right_one_and_without_a_secret(variable: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, value)
        (line,) = refused().lines
    assert re.match(rf"{variable} (must|can|cannot|has|names|is) [^\n]+", line)
    assert "right is, for example, " in line
    assert HIDDEN not in line
    assert "\n" not in line
    assert ENCRYPTION_KEY[:43] not in line
    assert "://" not in value or value not in line


@each("variable, value", pairs(RIGHT))
def test_a_right_value_that_looks_odd_is_taken(variable: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, value)
        read_settings()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_example_of_each_setting_is_right(monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path) -> None:
    example = example_of(name, Settings.model_fields[name])
    assert example
    if name in {"database_url", "broker_url"}:
        example = example.replace("PASSWORD", "word")
    elif name == "ca_bundle":
        example = __file__
    elif name == "portal_logo":
        (tmp_path / "logo.svg").touch()
        example = str(tmp_path / "logo.svg")
    elif example.startswith("what "):
        return  # words: no secret of a document may be used
    monkeypatch.setenv(environment_name(name), example)
    read_settings()


def test_all_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {variable: values[0] for variable, values in WRONG.items()}
    for variable, value in chosen.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("DISPATCHER_SMTP_HOTS", "mail")
    lines = refused().lines
    assert sorted(line.partition(" ")[0] for line in lines) == sorted([*chosen, "DISPATCHER_SMTP_HOTS"])


def test_a_key_is_told_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for keys, told in {
        f"{ENCRYPTION_KEY},{THIRD_KEY[:20]},{OTHER_KEY}": "key 2 of 3 has 20",
        f"{ENCRYPTION_KEY},{OTHER_KEY},{THIRD_KEY},{OTHER_KEY}": "key 4 is key 2",
        f"{ENCRYPTION_KEY[:-1]}*": "it has 44, not all of them those of a key",
    }.items():
        monkeypatch.setenv("DISPATCHER_ENCRYPTION_KEYS", keys)
        assert told in refused().lines[0]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("DISPATCHER_SMTP_HOTS", "did you mean DISPATCHER_SMTP_HOST?"),
        ("DISPATCHER_ENCRYPTION_KEY", "did you mean DISPATCHER_ENCRYPTION_KEYS?"),
        ("DISPATCHER_DATABASE_URI", "did you mean DISPATCHER_DATABASE_URL?"),
        ("DISPATCHER_PLUMAGE", "dispatcher settings --example"),
        ("DISPATCHER_API_SERVICE_HOST", "enableServiceLinks: false"),
        ("DISPATCHER_API_PORT_8080_TCP_ADDR", "enableServiceLinks: false"),
        ("dispatcher_smtp_hots", "did you mean DISPATCHER_SMTP_HOST?"),
        ("DISPATCHER_\x1b[31mX", "dispatcher settings --example"),
    ],
)
def test_a_name_that_is_not_known_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, advice: str
) -> None:
    monkeypatch.setenv(name, HIDDEN)
    (line,) = refused().lines
    assert advice in line
    assert "DISPATCHER_IGNORE_UNKNOWN_SETTINGS=true" in line
    assert HIDDEN not in line
    assert line.isprintable()


def test_an_older_version_can_start_with_names_of_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_OF_A_NEWER_VERSION", "1")
    monkeypatch.setenv("DISPATCHER_IGNORE_UNKNOWN_SETTINGS", "true")
    assert read_settings().warnings == ["DISPATCHER_OF_A_NEWER_VERSION is not a setting, and is ignored"]


def test_a_password_without_a_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_SMTP_PASSWORD", HIDDEN)
    monkeypatch.setenv("DISPATCHER_SMTP_USERNAME", "")
    assert refused().lines[0].startswith("DISPATCHER_SMTP_PASSWORD is set, but DISPATCHER_SMTP_USERNAME is not")


STARTS = {
    "workers": ("workers", "api", "deliver", "maintenance", "beat"),
    "API": ("dispatcher.web", "--port", "0"),
    "celery": ("celery", "-A", "workers", "worker"),
    "Flower": ("celery", "-q", "-A", "workers", "flower", "--conf=deploy/flower/flowerconfig.py", "--port=0"),
    "command": ("dispatcher", "account", "list"),
    "up": ("dispatcher", "up", "--temporary"),
}


@pytest.mark.parametrize("words", STARTS.values(), ids=STARTS.keys())
def test_nothing_starts_with_wrong_settings_and_all_errors_are_one_text(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DISPATCHER_SMTP_HOST", "mail:587")
    monkeypatch.setenv("DISPATCHER_GRACE_SECONDS", "inf")
    monkeypatch.setenv("DISPATCHER_FLOWER_PASSWORT", HIDDEN)
    monkeypatch.setenv(URL, f"postgresql://user:{HIDDEN}@db:port/name")
    done = run(*words, environment=os.environ)
    assert done.returncode == 1
    assert done.stdout == ""
    text = " ".join(done.stderr.split())
    if words[0] != "dispatcher":
        (line,) = map(json.loads, done.stderr.splitlines())
        assert line["event"] == "cannot start"
        text = f"Error: {line['why']}"
    assert text.startswith(f"Error: {URL} cannot be read")
    for told in ("DISPATCHER_SMTP_HOST must", "DISPATCHER_GRACE_SECONDS must", "DISPATCHER_FLOWER_PASSWORT is not a"):
        assert text.count(told) == 1
    assert "Traceback" not in done.stderr
    assert HIDDEN not in done.stderr


def test_a_backend_that_enqueues_is_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_SMTP_HOST", "mail:587")
    code = (
        "import dispatcher\n"
        "try:\n"
        "    dispatcher.enqueue('a', {}, account='acme')\n"
        "except dispatcher.ConfigurationError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("DISPATCHER_SMTP_HOST must be a host name")
