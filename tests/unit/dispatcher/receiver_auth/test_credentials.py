"""What a webhook's callbacks may show, and what is refused."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import InvalidWebhook
from dispatcher.receiver_auth.credentials import (
    MAX_HEADERS,
    Authorization,
    Basic,
    Bearer,
    ClientCredentials,
    TokenRequest,
    check_authorization,
    check_headers,
    header_value,
    read_authorization,
    shown_authorization,
    write_authorization,
)
from tests.each import each

CLIENT = ClientCredentials(
    "https://login.example/token?tenant=planted-tenant", "client", "planted-secret", "sms", "jwt", TokenRequest.FORM
)
LOGIN = "https://login.example/"
ALL: list[Authorization] = [Basic("user", "planted-word"), Bearer("planted-token"), CLIENT]


@pytest.mark.parametrize("authorization", ALL)
def test_an_authorization_is_kept_as_it_was_given_and_shown_masked(authorization: Authorization) -> None:
    assert read_authorization(write_authorization(authorization)) == authorization
    assert check_authorization(authorization) == authorization
    assert "planted" not in str(shown_authorization(authorization))
    assert "planted-secret" not in repr(authorization)
    assert "planted-word" not in repr(authorization)
    assert "planted-token" not in repr(authorization)


def test_an_endpoint_is_called_in_one_form_and_shown_as_it_was_given() -> None:
    given = "HTTPS://Login.example:0443/ü?tenant=planted#x"
    checked = check_authorization(replace(CLIENT, endpoint=given))
    assert isinstance(checked, ClientCredentials)
    assert checked.endpoint == "https://login.example:443/%C3%BC?tenant=planted"
    assert checked.shown_endpoint == given
    assert check_authorization(checked) == checked
    assert read_authorization(write_authorization(checked)) == checked
    shown = shown_authorization(checked)
    assert shown["endpoint"] == "HTTPS://Login.example:0443/ü?tenant=***#***"
    assert shown.keys() == shown_authorization(CLIENT).keys()
    assert "planted" not in str(shown)


def test_the_header_is_the_one_of_the_standards() -> None:
    assert header_value(Basic("Aladdin", "open sesame")) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617
    assert header_value(Basic("test", "123£")) == "Basic dGVzdDoxMjPCow=="  # RFC 7617, 2.1
    assert header_value(Bearer("mF_9.B5f-4.1JqM")) == "Bearer mF_9.B5f-4.1JqM"  # RFC 6750
    assert header_value(CLIENT) is None
    assert header_value(None) is None


@each(
    "authorization, field",
    [
        (Basic("", "word"), "basic.username"),
        (Basic("a:b", "word"), "basic.username"),
        (Basic("user", "wo\r\nrd"), "basic.password"),
        (Basic("us\0er", "word"), "basic.username"),
        (Basic("user", "w" * 4097), "basic.password"),
        (Bearer(""), "bearer.token"),
        (Bearer("two words"), "bearer.token"),
        (Bearer("tok\r\nX-Evil: 1"), "bearer.token"),
        (Bearer("tökén"), "bearer.token"),
        (Bearer("t" * 4097), "bearer.token"),
        (ClientCredentials("ftp://login.example/", "id", "secret"), "client_credentials.endpoint"),
        (ClientCredentials("https://user:word@login.example/", "id", "secret"), "client_credentials.endpoint"),
        (ClientCredentials(LOGIN, "", "secret"), "client_credentials.client_id"),
        (ClientCredentials(LOGIN, "id", ""), "client_credentials.client_secret"),
        (ClientCredentials(LOGIN, "id", "sec\nret"), "client_credentials.client_secret"),
        (ClientCredentials(LOGIN, "id", "secret", "s" * 1025), "client_credentials.scope"),
        (
            ClientCredentials(LOGIN, "id", "secret", None, "r" * 65),
            "client_credentials.response_type",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_naming_the_field(authorization: Authorization, field: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        check_authorization(authorization)
    assert refused.value.field == field


@each(
    "headers",
    [
        {"Host": "x"},
        {"content-LENGTH": "1"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"Authorization": "Basic eDp5"},
        {"Proxy-Authorization": "x"},
        {"User-Agent": "x"},
        {"webhook-signature": "v1,x"},
        {"Dispatcher-Attempt": "1"},
        {"": "x"},
        {"X Y": "x"},
        {"X:Y": "x"},
        {"X\r\nEvil": "x"},
        {"X-Ü": "x"},
        {"X" * 101: "x"},
        {"X": ""},
        {"X": " x"},
        {"X": "x\r\nEvil: y"},
        {"X": "x\0y"},
        {"X": "x\ty"},
        {"X": "ü"},
        {"X": "\u202e"},
        {"X": "x" * 4097},
        {"X": "1", "x": "2"},
        {f"X-{number}": "x" for number in range(MAX_HEADERS + 1)},
    ],
)
def test_headers_that_are_not_the_customers_or_cannot_be_sent_are_refused(headers: Mapping[str, str]) -> None:
    with pytest.raises(InvalidWebhook, match=r"^headers"):
        check_headers(headers)


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30), max_size=4))
def test_any_headers_are_taken_as_they_are_or_refused(headers: dict[str, str]) -> None:
    with suppress(InvalidWebhook):
        assert check_headers(headers) == headers
        assert all(name.isascii() and value.isascii() and value.isprintable() for name, value in headers.items())
