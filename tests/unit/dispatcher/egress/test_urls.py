import re
import socket
import string
from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.egress.urls import comparable_url, normalise_url
from dispatcher.errors import InvalidWebhook
from dispatcher.masking import urls
from dispatcher.masking.answers import redacted, secret_forms
from dispatcher.masking.urls import mask_url, secret_parts
from dispatcher.transport.checks import split_url
from tests.each import each


@each(
    "given, sent",
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:8443/Hook?a=1", "https://example.com:8443/Hook?a=1"),
        ("http://bücher.example/straße?q=ü", "http://xn--bcher-kva.example/stra%C3%9Fe?q=%C3%BC"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("https://example.com/a%20b?c=%26#fragment", "https://example.com/a%20b?c=%26"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x"),
        ("https://straße.de/", "https://xn--strae-oqa.de/"),
        ("https://ExAmple.ＣＯＭ/", "https://example.com/"),
        ("https://例え。テスト/", "https://xn--r8jz45g.xn--zckzah/"),
        ("https://r3---sn.example/", "https://r3---sn.example/"),
        ("https://7.example/", "https://7.example/"),
        ("http://[2001:4860:4860:0:0:0:0:8888]/", "http://[2001:4860:4860::8888]/"),
    ],
)
def test_a_url_is_kept_in_the_form_it_is_sent_in(given: str, sent: str) -> None:
    assert normalise_url(given) == sent


@pytest.mark.parametrize(
    ("one", "equivalent"),
    [
        ("https://h.example/a/b", "HTTPS://H.Example:0443/a/./%62#part"),
        ("https://h.example/a/b", "https://h.example/../x/%2E%2e/a/c/../b"),
        ("https://h.example/a/", "https://h.example/a/b/.."),
        ("https://h.example", "https://h.example/a/.."),
        ("http://[::1]/?q=%2F~%C3%A4", "http://[0:0::1]:80?q=%2f%7E%c3%a4"),
        ("https://h.example/ä", "https://h.example/%c3%A4"),
    ],
)
def test_equivalent_urls_have_one_form_for_comparisons(one: str, equivalent: str) -> None:
    assert comparable_url(normalise_url(one)) == comparable_url(normalise_url(equivalent))


def test_urls_that_are_not_equivalent_differ_in_comparisons() -> None:
    urls = [
        "https://h.example/a", "http://h.example/a", "http://h.example:443/a", "https://h.example:4430/a",
        "https://h.example/a/", "https://h.example//a", "https://h.example/A", "https://h.example/%2Fa",
        "https://h.example/%2561", "https://h.example/a?b=/./c", "https://h.example/a?b=/c",
        "https://h.example/a?b=%2Fc", "https://h.example/.../a", "https://h.example/a%2F..",
    ]  # fmt: skip
    assert len({comparable_url(normalise_url(url)) for url in urls}) == len(urls)


@each(
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
        "https://example.com/#\ud800",
    ],
)
def test_what_is_no_plain_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        normalise_url(url)
    assert refused.value.field == "url"
    assert "password" not in str(refused.value).replace("user name or password", "")


NEITHER = "has a host that is neither a DNS name nor an IP address in its usual form"
NO_IPV6 = "has a host in brackets that is not a plain IPv6 address"
USER_INFO = "must not hold a user name or password: set HTTP Basic authorization instead"
CHARACTERS = "must not hold spaces, control characters or backslashes"
UNREADABLE = "is not a URL: host or port cannot be read"
PORT = "must have a port from 1 to 65535, or none"

# Hosts, each of which leads to 127.0.0.1, or to another place than it seems, with some program.
ODD_HOSTS = {
    NEITHER: """
        127.1 127.0.1 0 0.0 127 0x7f000001 0X7F000001 0x7f.1 0x7f.0.0.1 0x7f.0x0.0x0.0x1 0177.0.0.1 0177.1
        00000177.0.0.1 017700000001 2130706433 127.0.0.01 127.0.0.1. 127.0.0.0x1 127.0.0.1.1 1.2.3 256.1.1.1
        127.0.0.256 0x 0x7f000001. 127.0.0.0x 1.0x 4294967296 00 08 127。0。0。1 127．0．0．1 127｡0｡0｡1
        １２７.０.０.１ ①②⑦.⓪.⓪.① 127.0.0.① ١٢٧.0.0.1 127.0.0.١ ０x7f.1 𝟏𝟐𝟕.𝟎.𝟎.𝟏 𝟙𝟚𝟟.𝟘.𝟘.𝟙 127.0.0.¹
        localhost. example.com. example.com.. .example.com example..com -a.example a-.example ex%61mple.com
        127%2e0%2e0%2e1 %31%32%37.0.0.1 localhost%00.example.com exa$mple.com exa,mple.com a;b.example
        *.example.com (127.0.0.1) !localhost exa|mple.com ex^ample.com `id`.example {a}.example ~.example
        a+b.example a=b.example a'b.example "a".example <a>.example xn--ü.example ⓛocalhost．""",
    NO_IPV6: "[fe80::1%25eth0] [fe80::1%eth0] [fe80::1%1] [::1%0] [v1.127]",
    UNREADABLE: """
        [127.0.0.1] [localhost] [] [[::1]] [::1]x x[::1] [::1][::1] [::1]:80:80 [::ffff:127.1] [::zz] [1::2::3] ]::1[
        127.0.0.1:80:80 127.0.0.1:8o 127.0.0.1:-1 127.0.0.1:+80 127.0.0.1:８０ 127.0.0.1:99999 ::1
        ℀.example a／b.example a：80.example a＠b.example a＃b.example a？b.example""",
    USER_INFO: """
        user@127.0.0.1 user:password@127.0.0.1 example.com@127.0.0.1 example.com:80@127.0.0.1 @127.0.0.1
        :@127.0.0.1 a@b@127.0.0.1 example.com%40@127.0.0.1 127.0.0.1@example.com user@[::1]""",
    PORT: "127.0.0.1:0 127.0.0.1: example.com:00000",
}
INVISIBLE_OR_LONG = [
    *[
        (host, NEITHER)
        for host in ("127.0.0.1\u00ad", "127.0.\u200b0.1", "\ufeff127.0.0.1", "\ud800.example", "\u3002")
    ],
    *[
        (host, NEITHER)
        for host in ("a\uff3cb.example", "a" * 64 + ".example", "ü" * 60 + ".example", "a." * 127 + "ab")
    ],
    *[
        (host, CHARACTERS)
        for host in ("example.com\\@127.0.0.1", "example.com\\.127.0.0.1", "127.0.0.1\\", "a b", "\x7fa")
    ],
    *[
        (host, CHARACTERS)
        for host in ("exam\tple.com", "127.0.0.1\t", "127.0.\n0.1", "\r127.0.0.1", "a\x00", "a\x0b", "\x1fa")
    ],
]
ODD_CASES = [(host, reason) for reason, hosts in ODD_HOSTS.items() for host in hosts.split()] + INVISIBLE_OR_LONG


@each("host, reason", ODD_CASES)
def test_an_odd_spelling_of_a_host_is_refused(host: str, reason: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        normalise_url(f"http://{host}/")
    assert refused.value.reason == reason


@each(
    "url, host",
    [
        ("http://127.0.0.1#@example.com/", "127.0.0.1"),
        ("http://127.0.0.1?@example.com/", "127.0.0.1"),
        ("http://127.0.0.1/@example.com/", "127.0.0.1"),
        ("http://127.0.0.1/:80@example.com/", "127.0.0.1"),
        ("http://127.0.0.1;@example.com/", None),
        ("http://LOCALHOST/", "localhost"),
        ("http://ｌｏｃａｌｈｏｓｔ/", "localhost"),
        ("http://loc\u00adalhost/", "localhost"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:7f00:1"),
        ("http://[0:0:0:0:0:0:0:1]/", "::1"),
        ("http://[::ffff:7F00:1]/", "::ffff:7f00:1"),
        ("http://[64:ff9b::127.0.0.1]/", "64:ff9b::7f00:1"),
        ("http:127.0.0.1/", None),
        ("http:/127.0.0.1/", None),
        ("http:///127.0.0.1/", None),
        ("//127.0.0.1/", None),
        ("http://////127.0.0.1/", None),
    ],
)
def test_the_guard_judges_the_host_that_is_called(url: str, host: str | None) -> None:
    try:
        called = urlsplit(normalise_url(url))
    except InvalidWebhook:
        assert host is None
    else:
        assert ip_or_name(called.hostname or "") == ip_or_name(host or "none")
        assert AddressPolicy().refused_origin(called.scheme, called.hostname or "", called.port or 80) is not None


def ip_or_name(host: str) -> object:
    try:
        return ip_address(host)
    except ValueError:
        return host


# Whatever the URL

_NUMBER_FORMS = st.sampled_from([str, hex, lambda number: f"0{number:o}", lambda number: f"0X{number:X}"])


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """An IPv4 address in one of the spellings that `inet_aton` takes."""
    number = int(draw(st.ip_addresses(v=4)))
    parts = draw(st.integers(1, 4))
    numbers = [(number >> 8 * (3 - place)) & 0xFF for place in range(parts - 1)]
    numbers.append(number & ((1 << 8 * (5 - parts)) - 1))
    text = ".".join(draw(_NUMBER_FORMS)(part) for part in numbers)
    return text.translate(draw(st.sampled_from([{}, FULL_WIDTH, {ord("."): "。"}])))


FULL_WIDTH = {ord(digit): chr(ord("０") + int(digit)) for digit in string.digits}


@given(spelling=spellings(), dot=st.sampled_from(["", "."]))
@example(spelling="127.0.0.1", dot="")
@settings(deadline=None, max_examples=150)
def test_an_address_in_any_spelling_is_refused_or_judged_as_the_address_it_is(spelling: str, dot: str) -> None:
    try:
        host = urlsplit(normalise_url(f"https://{spelling}{dot}/")).hostname
    except InvalidWebhook:
        return
    assert host is not None
    assert IPv4Address(socket.inet_aton(spelling)) == IPv4Address(host)


_PLAIN = "http https :// : / // @ ? # % [ ] . .. 127.1 0x7f 80 ::1 localhost example.com bücher ß 。 ① &a=b"
_PIECES = st.sampled_from([*_PLAIN.split(), "\\", "\u00ad", "\u200b", "\ud800", " ", "\t", "\x00"])
_URLS = st.one_of(
    st.lists(_PIECES, max_size=12).map("".join),
    st.lists(_PIECES, max_size=8).map(lambda pieces: "https://" + "".join(pieces)),
    st.text(max_size=30).map(lambda text: f"https://example.com/{text}"),
    st.text(max_size=12).map(lambda text: f"https://{text}.example/"),
)


@given(url=_URLS)
@example(url="https://straße.example/?ü#x")
@settings(deadline=None, max_examples=300)
def test_a_url_that_is_accepted_is_plain_ascii_and_does_not_change_again(url: str) -> None:
    try:
        accepted = normalise_url(url)
    except InvalidWebhook:
        return
    assert re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]+)?/[!-~]*", accepted)
    assert normalise_url(accepted) == accepted
    assert split_url(accepted).origin.host == urlsplit(accepted).hostname  # what connects reads it alike


@each("url, shown", [
        ("https://example.com/hook.php?secret=pass763265word", "https://example.com/hook.php?secret=***"),
        ("https://example.com/hook?justatoken", "https://example.com/hook?***"),
        ("https://example.com/hook?justatoken=", "https://example.com/hook?***"),
        ("https://example.com/hook?one=1&two=x=y&&=z&tok", "https://example.com/hook?one=***&two=***&=***&***"),
        ("https://hooks.example/services/T00000000/B00000001/a1B2c3D4e5F6", "https://hooks.example/services/T00000000/B00000001/***"),
        ("https://example.com/0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b/in", "https://example.com/***/in"),
        ("https://example.com/messages/incoming", "https://example.com/messages/incoming"),
        ("HTTPS://Example.COM:0443", "HTTPS://Example.COM:0443"),
        ("https://bücher.example/straße?ключ=größe", "https://bücher.example/straße?ключ=***"),
        ("https://example.com?key=t0ken#part", "https://example.com?key=***#***"),
        ("https://example.com/in?#", "https://example.com/in"),
        ("https://user:word@example.com/", "https://***@example.com/"),
        ("https://example.com/a1B2%63%33D4e5F6/in", "https://example.com/***/in"),
        ("https://example.com/c2VjcmV0MTIzNDU2%3d%3D", "https://example.com/***"),
        ("https://api.example/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", "https://api.example/***"),
        ("https://example.com/in?c2VjcmV0MTIz==", "https://example.com/in?***"),
        ("https://exam\u00adple.com/\u202egnp\u00a0\u2028", "https://exam%C2%ADple.com/%E2%80%AEgnp%C2%A0%E2%80%A8"),
    ])  # fmt: skip
def test_a_masked_url_shows_where_but_no_secret(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert not [part for part in secret_parts(url) if part in shown]


def test_the_secret_parts_of_a_url_are_those_that_are_not_shown() -> None:
    assert list(secret_parts("https://example.com/in/a1B2c3D4e5F6?key=t0ken&justatoken&b=x%20y=z")) == [
        "a1B2c3D4e5F6",
        "t0ken",
        "justatoken",
        "x%20y=z",
    ]
    assert list(secret_parts("https://u:pw@example.com/id:a1B2%633D4e5F6?c2VjcmV0MTIz==#part")) == [
        "u",
        "pw",
        "id:a1B2%633D4e5F6",
        "a1B2c3D4e5F6",
        "c2VjcmV0MTIz",
        "part",
    ]


def test_parts_of_a_path_that_are_short_or_equal_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(urls, "unquote", lambda part: decoded.append(part) or unquote(part))
    url = "https://example.com" + "/a%2Fb1" * 100 + "/a1B2c3D4e5F6" * 100 + "/seven-words-of-no-digit"
    assert list(secret_parts(url)) == ["a1B2c3D4e5F6"]
    assert decoded == ["a1B2c3D4e5F6", "seven-words-of-no-digit"]


# Secrets in URLs, in any spelling

PLANTED = "planted"
_TOKEN_END = st.text(string.ascii_letters + "_~+=.-", max_size=12)
_TOKENS = _TOKEN_END.map(lambda end: f"{PLANTED}7{end}token")
_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=" \\"), max_size=8)
_AROUND = st.tuples(_TEXTS, _TEXTS).map(lambda ends: f"{ends[0]}{PLANTED}{ends[1]}")
_ENCODED = st.sampled_from(
    [lambda each: quote(each, safe=""), lambda each: "".join(f"%{byte:02x}" for byte in each.encode())]
)
_ANY_FORM = st.just(str) | _ENCODED
_HOSTS = st.sampled_from(["example.com", "EXAMPLE.com:00443", "bücher.example:443", "[2001:4860:4860:0:0:0:0:8888]"])


@st.composite
def spelt(draw: st.DrawFn, text: str, delimiters: str) -> str:
    """The text with some of its characters percent-encoded, in upper or lower case; delimiters always are."""
    return "".join(draw(_ENCODED if each in delimiters + "%" else _ANY_FORM)(each) for each in text)


@st.composite
def urls_with_secrets(draw: st.DrawFn, *, user: bool) -> str:
    """A URL in any spelling, with secrets in some of the places that can hold one."""

    def secret(texts: st.SearchStrategy[str], delimiters: str) -> str:
        return draw(spelt(draw(texts), delimiters))

    parts = [draw(spelt(draw(_TEXTS), "/?#")) for _ in range(draw(st.integers(0, 2)))]
    url = draw(st.sampled_from(["http://", "HTTPS://"]))
    if user and draw(st.booleans()):
        url += secret(_AROUND, "/?#@:") + draw(st.sampled_from(["", ":"])) + "@"
    url += draw(_HOSTS)
    if draw(st.booleans()):
        url += "/" + "/".join([*parts, secret(_TOKENS, "/?#"), "in"])
    if draw(st.booleans()):
        url += "?" + draw(st.sampled_from(["", "a=", "ü=", "a&&b=x=", "="])) + secret(_AROUND, "#&=")
    if draw(st.booleans()):
        url += "#" + secret(_AROUND, "")
    return url


@given(url=urls_with_secrets(user=True))
@settings(max_examples=150)
def test_no_spelling_of_a_url_shows_a_secret_nor_steers_a_terminal(url: str) -> None:
    spellings = [url]
    with suppress(InvalidWebhook):
        spellings.append(normalise_url(url))
    for spelling in spellings:
        shown = mask_url(spelling)
        assert PLANTED not in unquote(shown)
        assert shown.isprintable()


@given(url=urls_with_secrets(user=False))
@settings(max_examples=100)
def test_an_answer_that_repeats_any_spelling_of_a_url_is_kept_without_its_secrets(url: str) -> None:
    called = normalise_url(url)
    forms = secret_forms([*secret_parts(url), *secret_parts(called)])
    for told in (url, called, unquote(url, errors="strict"), unquote(called)):
        answer = f"Cannot POST {told}\n".encode()
        assert PLANTED.encode() not in redacted(answer, forms, len(answer))
