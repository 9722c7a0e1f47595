"""What customers are told of failures: one text for all that depends on the operator's network, the truth otherwise."""

import pytest

from dispatcher.egress.address_policy import ODD_HOST, ONE_LABEL, OWN, PLAIN_HTTP, AddressPolicy
from dispatcher.egress.special_addresses import METADATA, SERVICES
from dispatcher.transport.exchange import FailureKind
from dispatcher.transport.failure_texts import NO_ADDRESS
from dispatcher.transport.resolver import not_resolved
from dispatcher.transport.told import NOT_PUBLIC, no_answer_for_token, told, told_detail, told_kind, told_refusal

OF_THE_NETWORK = [
    *(not_resolved(error).detail for error in (TimeoutError(), OSError(-2, "x"), UnicodeError(), ValueError())),
    *(NO_ADDRESS.detail, "name not resolved", "a loopback address", "a private address", METADATA, OWN, ONE_LABEL),
    *("an address of a single link", "an address that cannot be read", "a kind that a newer version has", ""),
]


@pytest.mark.parametrize("detail", OF_THE_NETWORK)
@pytest.mark.parametrize("kind", [FailureKind.DNS, FailureKind.ADDRESS_REFUSED])
def test_whatever_depends_on_the_operators_network_is_one_failure(kind: FailureKind, detail: str) -> None:
    assert told(kind, detail, exact=False) == ("address_refused", NOT_PUBLIC)
    assert told(kind, detail, exact=True) == (kind, detail)
    assert told_refusal(detail) == NOT_PUBLIC


def test_what_the_url_itself_says_is_told() -> None:
    policy = AddressPolicy()
    of_ports = [policy.refused_origin("http", "hook.example", port) for port in (*SERVICES, 22, 25, 1023)]
    for reason in (PLAIN_HTTP, ODD_HOST, *of_ports):
        assert reason is not None
        assert told("address_refused", reason, exact=False) == ("address_refused", reason)
        assert told_refusal(reason) == f"may not be called: {reason}"


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - {FailureKind.DNS, FailureKind.ADDRESS_REFUSED}))
def test_failures_at_public_addresses_stay_exact(kind: FailureKind) -> None:
    assert told(kind, "certificate refused: has expired", exact=False) == (kind, "certificate refused: has expired")


def test_of_a_token_server_the_same_holds() -> None:
    texts = {told_detail("token", no_answer_for_token(kind)) for kind in (FailureKind.DNS, FailureKind.ADDRESS_REFUSED)}
    assert texts == {f"no answer from the token server: it {NOT_PUBLIC}"}
    exact = no_answer_for_token(FailureKind.TLS)
    assert told_detail("token", exact) == exact == "no answer from the token server (tls)"


def test_no_failure_and_a_status_stay_what_they_are() -> None:
    assert told(None, None, exact=False) == (None, None)
    assert told_kind("http_503") == "http_503"
