import pytest

from dispatcher.errors import InvalidWebhook
from dispatcher.urls import mask_url, normalise_url


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:8443/Hook?a=1", "https://example.com:8443/Hook?a=1"),
        ("http://bücher.example/straße?q=ü", "http://xn--bcher-kva.example/stra%C3%9Fe?q=%C3%BC"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("https://example.com/a%20b?c=%26#fragment", "https://example.com/a%20b?c=%26"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x"),
    ],
)
def test_a_url_is_kept_in_the_form_it_is_sent_in(given: str, sent: str) -> None:
    assert normalise_url(given) == sent


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "https://user:password@example.com/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:/",
        "https://example.com/a b",
        "https://example.com/\r\nX: y",
        "https://exa\\mple.com/",
        "https://" + "a" * 64 + ".example/",
        "https://example.com/" + "a" * 2048,
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[::zz]/",
        "https://example.com/\ud800",
    ],
)
def test_what_is_no_plain_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        normalise_url(url)
    assert refused.value.field == "url"
    assert "password" not in str(refused.value).replace("user name or password", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/hook.php?secret=pass763265word", "https://example.com/hook.php?secret=***"),
        ("https://example.com/hook?justatoken", "https://example.com/hook?justatoken=***"),
        ("https://hooks.example/services/T00000000/B00000001/a1B2c3D4e5F6", "https://hooks.example/services/T00000000/B00000001/***"),
        ("https://example.com/0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b/in", "https://example.com/***/in"),
        ("https://example.com/messages/incoming", "https://example.com/messages/incoming"),
    ],
)  # fmt: skip
def test_a_masked_url_shows_where_but_no_secret(url: str, shown: str) -> None:
    assert mask_url(url) == shown
