"""What the broker's URL says, in every form, and what is refused."""

from dataclasses import replace

import pytest
from kombu import Connection
from pydantic import SecretStr

from dispatcher.broker.address import BrokerAddress, Login, read_broker_url
from dispatcher.broker.celery_settings import celery_settings
from dispatcher.settings import UNVERIFIED_BROKER, Settings
from tests.each import each

PLAIN = BrokerAddress((("127.0.0.1", 6379),), "", 0, Login(), {}, "", Login())
SENTINELS = (("a", 26379), ("b", 26380))
CHECKED = {"ssl_cert_reqs": "required"}


@each(
    "url, address",
    [
        ("redis://", PLAIN),
        ("redis:///", PLAIN),
        ("redis://h:7/3", replace(PLAIN, servers=(("h", 7),), database=3)),
        ("redis://[::1]:7", replace(PLAIN, servers=(("::1", 7),))),
        ("redis://:p%2Fw%40@h", replace(PLAIN, servers=(("h", 6379),), login=Login(None, "p/w@"))),
        ("redis://u:p@w@h", replace(PLAIN, servers=(("h", 6379),), login=Login("u", "p@w"))),
        ("rediss://", replace(PLAIN, tls=CHECKED)),
        ("redis://?ssl_ca_certs=/ca.pem", replace(PLAIN, tls={"ssl_ca_certs": "/ca.pem", **CHECKED})),
        ("rediss://?ssl_cert_reqs=CERT_OPTIONAL", replace(PLAIN, tls=CHECKED)),
        ("rediss://?ssl_cert_reqs=none", replace(PLAIN, tls={"ssl_cert_reqs": "none"})),
        ("rediss://?ssl_check_hostname=False", replace(PLAIN, tls={"ssl_check_hostname": False, **CHECKED})),
        ("redis+socket:///run/v.sock", replace(PLAIN, servers=(), path="/run/v.sock")),
        (
            "redis+socket://u:p@/a%20b?virtual_host=2",
            replace(PLAIN, servers=(), path="/a b", database=2, login=Login("u", "p")),
        ),
        ("sentinel://a?master_name=m", replace(PLAIN, servers=SENTINELS[:1], master="m")),
        (
            "sentinel://:p@a;sentinel://b:26380/1?master_name=m&sentinel_password=s%26",
            replace(
                PLAIN,
                servers=SENTINELS,
                database=1,
                login=Login(None, "p"),
                master="m",
                sentinel_login=Login(None, "s&"),
            ),
        ),
        (
            "sentinel://u:p@a/1?master_name=m&ssl_ca_certs=f;sentinel://u:p@b:26380/1?master_name=m&ssl_ca_certs=f",
            replace(
                PLAIN,
                servers=SENTINELS,
                database=1,
                login=Login("u", "p"),
                tls={"ssl_ca_certs": "f", **CHECKED},
                master="m",
            ),
        ),
    ],
)
def test_every_form_is_read(url: str, address: BrokerAddress) -> None:
    assert read_broker_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://us%2Fer:p%3Bw@h:7/3",
        "redis://:p@[::1]:7/3",
        "rediss://:p@h:7/3?ssl_ca_certs=f",
        "redis+socket://u:p%2Fw@/run/a%20b?virtual_host=2",
        "sentinel://a:1;sentinel://:p%3Bsentinel@b:2/1?master_name=m&sentinel_password=s&ssl_ca_certs=f",
    ],
)
def test_kombu_reads_the_same_from_what_it_is_given(url: str) -> None:
    address, given = read_broker_url(url), celery_settings(url)
    connection = Connection(given["broker_url"], ssl=given["broker_use_ssl"])
    for server in address.servers or ("socket",):
        if address.path:
            assert connection.transport_cls == "redis"
            assert read_broker_url(connection.as_uri(include_password=True)) == address
        else:
            assert (connection.hostname, connection.port) == server
            assert int(str(connection.virtual_host).strip("/") or 0) == address.database
            assert Login(connection.userid, connection.password) == address.login
        assert (connection.ssl or {}) == address.tls
        connection.maybe_switch_next()


@each(
    "url, why",
    [
        ("", "must be a Redis-protocol URL, which begins with redis://"),
        ("redis", "must be a Redis-protocol URL"),
        ("amqp://planted@h", "must be a Redis-protocol URL"),
        ("unix:///run/planted", r"what unix:// stands for is redis\+socket:///path here"),
        ("redis+sentinel://h/planted", r"is sentinel://host:26379\?master_name=NAME here"),
        ("valkeys://planted", "is rediss:// here"),
        ("redis://:pl/anted@h", "cannot be read: in user and password, write"),
        ("redis://:1/planted@h", "cannot be read"),
        ("redis://:1#planted@h", "cannot be read"),
        ("redis://:1?planted@h", "has a parameter that redis:// does not know$"),
        ("redis://a;redis://planted", "only for Sentinel"),
        ("redis://h/planted", "must end with the number of a database"),
        ("redis://h/0?ssl_cert_reqs=planted", "must say ssl_cert_reqs=required"),
        ("rediss://h?ssl_check_hostname=planted", "must say ssl_check_hostname=true"),
        ("redis://h?virtual_host=planted", "that redis:// does not know: virtual_host"),
        ("redis+socket://planted/x", "must have three slashes"),
        ("redis+socket://", "must have three slashes"),
        ("redis+socket:///x?ssl_ca_certs=planted", r"that redis\+socket:// does not know: ssl_ca_certs"),
        ("redis+socket:///x?virtual_host=planted", "the number of a database"),
        ("sentinel://planted", "must name the master"),
        ("sentinel://a,planted?master_name=m", "only for Sentinel"),
        ("sentinel://:planted@a;sentinel://:other@b?master_name=m", "the same login for all sentinels"),
        ("sentinel://a/1;sentinel://b/2?master_name=planted", "the same database for all"),
        ("sentinel://a?master_name=planted;sentinel://b?master_name=m", "the same parameters for all"),
    ],
)
def test_what_is_refused_is_refused_in_words_without_the_url(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        read_broker_url(url)
    assert "planted" not in str(refused.value)


def test_the_address_shows_no_password_and_no_certificates_key() -> None:
    url = "sentinel://:planted@h/0?master_name=m&sentinel_password=planted&ssl_password=planted"
    assert "planted" not in repr(read_broker_url(url))


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("redis://h", False),
        ("rediss://h", False),
        ("rediss://h?ssl_check_hostname=true", False),
        ("rediss://h?ssl_cert_reqs=none", True),
        ("rediss://h?ssl_check_hostname=false", True),
    ],
)
def test_a_certificate_that_nobody_checks_is_among_the_warnings(url: str, warned: bool) -> None:
    settings = Settings(database_url=SecretStr("postgresql://h/d"), broker_url=SecretStr(url))
    assert (UNVERIFIED_BROKER in settings.warnings) is warned
