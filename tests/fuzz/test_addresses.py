"""Whatever hosts and DNS answers look like, nothing but public addresses is called, and customers are told no more."""

import os
from ipaddress import ip_address
from urllib.parse import urlsplit

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dispatcher.egress.address_policy import OWN as OWN_ADDRESS
from dispatcher.egress.address_policy import AddressPolicy, is_address
from dispatcher.egress.special_addresses import METADATA
from dispatcher.egress.urls import normalise_url
from dispatcher.errors import InvalidWebhook
from dispatcher.transport.checks import split_url
from dispatcher.transport.exchange import FailureKind
from dispatcher.transport.told import NOT_PUBLIC, told, told_refusal

EXAMPLES = 10 * int(os.environ.get("FUZZ_EXAMPLES", "10"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

LABELS = st.one_of(
    st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True),
    st.sampled_from(["localhost", "local", "internal", "127", "0x7f", "xn--bcher-kva", "bücher", "１２７", "ⓛocal"]),
    st.text(max_size=4),
)
DOTS = st.sampled_from([".", ".", ".", "。", "．", "｡", "..", ""])
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str), st.ip_addresses(v=6).map("[{}]".format)
)
HOSTS = st.one_of(
    st.lists(st.tuples(LABELS, DOTS), min_size=1, max_size=4).map(lambda parts: "".join(map("".join, parts))), ADDRESSES
)
OWN = "8.8.4.4"
POLICY = AddressPolicy(hosts=("internal",), is_own=OWN.__eq__)


@fuzz
@given(HOSTS, st.sampled_from(["", ":80", ":8080", ":6379", ":022"]))
def test_what_is_registered_is_a_public_address_or_an_absolute_name_of_several_labels(host: str, port: str) -> None:
    try:
        called = normalise_url(f"http://{host}{port}/")
    except InvalidWebhook:
        return
    parts = urlsplit(called)
    origin = split_url(called).origin
    assert (origin.host, origin.port) == (parts.hostname, parts.port or 80)  # the transports read it in the same way
    reason = POLICY.refused_origin("http", origin.host, origin.port)
    if reason is not None:
        assert origin.host not in told_refusal(reason)
    elif is_address(origin.host):
        assert ip_address(origin.host).is_global
    elif origin.host == "internal" or origin.host.endswith(".internal"):
        assert POLICY.looked_up_as(origin.host) == origin.host
    else:
        assert "." in origin.host
        assert not origin.host.endswith(".")
        assert POLICY.looked_up_as(origin.host) == f"{origin.host}."


@fuzz
@given(ADDRESSES.map(lambda text: text.strip("[]")))
def test_what_a_name_may_lead_to_is_public_and_customers_learn_nothing_of_the_rest(address: str) -> None:
    reason = POLICY.refused_address("hook.example", address, 443)
    assert reason is not None or ip_address(address).is_global
    if reason is not None:
        assert told(FailureKind.ADDRESS_REFUSED, reason, exact=False) == ("address_refused", NOT_PUBLIC)
    allowed = POLICY.refused_address("a.internal", address, 443)
    assert allowed is None or reason is not None
    assert allowed in {None, METADATA, OWN_ADDRESS} or ":" in address


@fuzz
@given(st.text(), st.sampled_from(sorted(FailureKind)))
def test_whatever_is_recorded_of_such_a_failure_is_not_told(detail: str, kind: FailureKind) -> None:
    assume(kind in {FailureKind.DNS, FailureKind.ADDRESS_REFUSED})
    shown = told(kind, detail, exact=False)
    assert shown[0] == "address_refused"
    assert shown[1] in {NOT_PUBLIC, detail}
    if shown[1] == detail != NOT_PUBLIC:
        assert detail.startswith(("port ", "plain http", "a host that is neither"))
