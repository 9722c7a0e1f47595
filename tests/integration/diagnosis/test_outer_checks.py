"""The checks of settings, broker, certificates and mail server, each with a real one that is well, and that is not."""

import platform
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from pydantic import SecretStr

from dispatcher.diagnosis.checks import interpreter
from dispatcher.diagnosis.findings import worst
from dispatcher.diagnosis.running import Patient
from dispatcher.settings import Settings
from tests.certificates import Authority, new_authority, self_signed_server
from tests.dead_ports import refusing_port
from tests.installations import installation_for
from tests.integration.diagnosis.patients import found_by, level_of
from tests.mail_server import Drop, MailServer, Say, Stage
from tests.receiver import Receiver
from workers import trials

WELL = {"smtp_host": "mail.test", "public_url": "https://hooks.test", "allowed_networks": ""}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


def test_settings_that_are_right_are_said_to_be(settings: Settings) -> None:
    (found,) = found_by("settings", settings.model_copy(update=WELL))
    assert (found.level, found.says) == ("ok", "all are right")


@pytest.mark.parametrize(("names", "level"), [({"_OctalPatt": None}, "warn"), ({}, "ok")])
def test_a_python_without_the_fix_for_cookies_is_told_whatever_its_number(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, names: dict[str, None], level: str
) -> None:
    monkeypatch.setattr(interpreter, "http", SimpleNamespace(cookies=SimpleNamespace(**names)))
    (found,) = found_by("python", settings)
    assert (found.level, platform.python_version() in found.says) == (level, True)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"allowed_networks": "127.0.0.0/8"}, "DISPATCHER_ALLOWED_NETWORKS"),
        ({"unsafe_allow_any_address": True}, "DISPATCHER_UNSAFE_ALLOW_ANY_ADDRESS"),
        ({"time_scale": 0.5}, "DISPATCHER_TIME_SCALE"),
        ({"circuit_breaker_failures": 0}, "DISPATCHER_CIRCUIT_BREAKER_FAILURES"),
        ({"smtp_username": "us", "smtp_security": "none"}, "DISPATCHER_SMTP_SECURITY"),
        ({"smtp_host": ""}, "DISPATCHER_SMTP_HOST"),
        ({"public_url": ""}, "DISPATCHER_PUBLIC_URL"),
        ({"encryption_keys": SecretStr("")}, "DISPATCHER_ENCRYPTION_KEYS"),
        ({"broker_url": SecretStr("rediss://host/0?ssl_cert_reqs=none")}, "BROKER_URL"),
    ],
)
def test_a_setting_that_is_dangerous_is_named(settings: Settings, changed: dict[str, object], named: str) -> None:
    (found,) = found_by("settings", settings.model_copy(update={**WELL, **changed}))
    assert (found.level, named in found.says) == ("warn", True), found


def test_a_broker_that_is_well_is_said_to_be(settings: Settings, broker: "redis.Redis") -> None:
    assert [level_of(name, settings) for name in ("broker", "broker_memory")] == ["ok", "ok"]
    assert "Valkey" in found_by("broker", settings)[0].says


def test_a_broker_that_is_away_fails_with_where_it_should_be_and_without_its_password(settings: Settings) -> None:
    port = refusing_port()
    away = settings.model_copy(update={"broker_url": SecretStr(f"redis://:planted-secret@127.0.0.1:{port}/0")})
    (found,) = found_by("broker", away)
    assert (found.level, found.where) == ("fail", f"127.0.0.1:{port}")
    assert "planted-secret" not in str(found)


def test_a_broker_that_may_throw_things_away_fails(settings: Settings, broker: "redis.Redis") -> None:
    broker.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert level_of("broker_memory", settings) == "warn"
        broker.config_set("maxmemory", "1gb")
        (found,) = found_by("broker_memory", settings)
    finally:
        broker.config_set("maxmemory", "0")
        broker.config_set("maxmemory-policy", "noeviction")
    assert (found.level, "allkeys-lru" in found.says, "noeviction" in found.advice) == ("fail", True, True)


def test_a_broker_that_is_full_fails(settings: Settings, broker: "redis.Redis") -> None:
    broker.config_set("maxmemory", "1mb")  # it has more than that already
    try:
        memory, writing = found_by("broker_memory", settings), found_by("broker", settings)
    finally:
        broker.config_set("maxmemory", "0")
    assert (str(worst(memory)), str(worst(writing))) == ("fail", "fail")
    assert "takes nothing" in writing[0].says


def test_a_user_of_the_broker_who_may_not_ask_is_told_what_to_look_at(
    settings: Settings, broker: "redis.Redis"
) -> None:
    broker.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-info")
    try:
        url = settings.broker_url.get_secret_value().rpartition("@")[2]
        limited = settings.model_copy(update={"broker_url": SecretStr(f"redis://limited:pw@{url}")})
        (found,) = found_by("broker_memory", limited)
        assert level_of("broker", limited) == "ok"
    finally:
        broker.execute_command("ACL", "DELUSER", "limited")
    assert (found.level, found.advice) == ("not_checked", "maxmemory-policy must be noeviction")


def test_authorities_that_can_be_used_are_counted(settings: Settings, authority: Authority) -> None:
    (found,) = found_by("trust", settings.model_copy(update={"ca_bundle": authority.bundle}))
    assert (found.level, found.says) == ("ok", f"1 authority in {authority.bundle}")


def test_authorities_that_have_expired_or_are_none_fail(settings: Settings, tmp_path: Path) -> None:
    expired = new_authority(tmp_path, expired=True).bundle
    empty = tmp_path / "empty.pem"
    empty.touch()
    for bundle, says in ((expired, "have expired"), (empty, "is empty")):
        (found,) = found_by("trust", settings.model_copy(update={"ca_bundle": bundle}))
        assert (found.level, says in found.says) == ("fail", True)


def test_a_handshake_is_made_with_the_host_of_the_public_url_or_another_one(
    settings: Settings, authority: Authority
) -> None:
    trusting = settings.model_copy(update={"ca_bundle": authority.bundle})
    (none,) = found_by("handshake", trusting)
    assert none.level == "not_checked"
    with Receiver(tls=authority.server("127.0.0.1")) as server:
        place = f"127.0.0.1:{server.port}"
        public = trusting.model_copy(update={"public_url": f"https://{place}/api"})
        made = [*found_by("handshake", trusting, handshake=place), *found_by("handshake", public)]
    # It is valid for a day.
    assert [(one.level, one.where, one.says[:23]) for one in made] == [("warn", place, "its certificate ends in")] * 2


def test_a_handshake_that_fails_says_whose_fault_it_may_be(
    settings: Settings, authority: Authority, tmp_path: Path
) -> None:
    trusting = settings.model_copy(update={"ca_bundle": authority.bundle})
    old = authority.server("127.0.0.1")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    said = []
    for tls in (authority.server("127.0.0.1", expired=True), self_signed_server(tmp_path, "127.0.0.1"), old):
        with Receiver(tls=tls) as server:
            demanding = trusting.model_copy(update={"tls_minimum": "1.3" if tls is old else "1.2"})
            said += found_by("handshake", demanding, handshake=f"127.0.0.1:{server.port}")
    said += found_by("handshake", trusting, handshake=f"127.0.0.1:{refusing_port()}")
    assert [one.level for one in said] == ["fail"] * 4
    words = ("certificate has expired", "self-signed certificate", "TLS fails", "Connection refused")
    assert [word for word, one in zip(words, said, strict=True) if word not in one.says] == []


def mailing(settings: Settings, port: int, **more: object) -> Settings:
    login = {"smtp_username": "us", "smtp_password": SecretStr("planted-secret"), "smtp_security": "none"}
    return settings.model_copy(update={"smtp_host": "127.0.0.1", "smtp_port": port, **login, **more})


def test_a_mail_server_that_lets_us_log_in_is_well_and_gets_no_mail(settings: Settings) -> None:
    with MailServer(login=("us", "planted-secret")) as server:
        (found,) = trials.mail(Patient(installation_for(mailing(settings, server.port))))
        assert (server.connections, server.messages) == (1, [])
    assert (found.level, "lets us log in" in found.says) == ("ok", True), found


def test_a_mail_server_that_does_not_want_us_fails_without_the_password(settings: Settings) -> None:
    with MailServer(login=("us", "another")) as server:
        refused = trials.mail(Patient(installation_for(mailing(settings, server.port))))
        server.script(Say(Stage.GREETING, "421 too busy"), Drop(Stage.GREETING))
        busy = trials.mail(Patient(installation_for(mailing(settings, server.port))))
        gone = trials.mail(Patient(installation_for(mailing(settings, server.port))))
        with_tls = trials.mail(Patient(installation_for(mailing(settings, server.port, smtp_security="starttls"))))
    found = [*refused, *busy, *gone, *with_tls]
    words = ("refused the login (535)", "answered 421", "closed the connection", "does not offer")
    assert [word for word, one in zip(words, found, strict=True) if word not in one.says] == []
    assert {one.level for one in found} == {"fail"}
    assert "planted-secret" not in str(found)


def test_without_a_mail_server_none_is_tried(settings: Settings) -> None:
    assert level_of("mail", settings) == "not_checked"
