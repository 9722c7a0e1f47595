"""A connection's URL is shown as where it leads to, never with who logs in."""

import pytest
from pydantic import SecretStr

from dispatcher.cli.masked_settings import masked_setting


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:pw@db.example.com:5432/events", "postgresql://***@db.example.com:5432/events"),
        ("postgresql://db.example.com/events", "postgresql://db.example.com/events"),
        ("postgresql:///events?host=/run&password=pw", "postgresql:///events?***"),
        ("postgresql://user:p@w/pw@db/events", "postgresql://***@db/events"),
        ("redis://:pw@127.0.0.1:6379/0", "redis://***@127.0.0.1:6379/0"),
        ("redis://:pw", "redis://***"),
        ("sentinel://:pw@a:1;sentinel://b:2/0?sentinel_password=pw", "sentinel://***@a:1;sentinel://b:2/0?***"),
        ("sentinel://a:1/0?sentinel_password=p@w", "sentinel://***"),
        ("redis+socket://:pw@/run/valkey.sock?virtual_host=1", "redis+socket://***@/run/valkey.sock?***"),
        ("redis+socket:///run/valkey.sock", "redis+socket:///run/valkey.sock"),
    ],
)
def test_a_connection_is_shown_without_its_login(url: str, shown: str) -> None:
    assert masked_setting("broker_url", SecretStr(url)) == shown


def test_a_secret_is_a_mask_where_it_is_set_and_nothing_where_it_is_not() -> None:
    assert masked_setting("smtp_password", SecretStr("pw")) == "***"
    assert masked_setting("smtp_password", SecretStr("")) == ""
