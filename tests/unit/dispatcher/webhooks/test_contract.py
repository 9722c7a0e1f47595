"""A contract is refused by the name of a member, or read and written again as it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import InvalidWebhook
from dispatcher.signing.schemes import BodySignature, Digest, Encoding, NonceSignature
from dispatcher.webhooks.contract import (
    DeliveryContract,
    Envelope,
    Method,
    ResponseRule,
    Verdict,
    read_contract,
    write_contract,
)
from tests import hostile_values
from tests.each import each
from tests.hostile_values import refusal

_HEADERS = st.sampled_from(["X-Signature", "x-other", "signature"])
_RULES = st.builds(
    ResponseRule, verdict=st.sampled_from(Verdict), disable_webhook=st.booleans(), honour_retry_after=st.booleans()
)
contracts = st.builds(
    DeliveryContract,
    method=st.sampled_from([Method.POST, Method.PUT]),
    envelope=st.just(Envelope.ARRAY),
    user_agent=st.none() | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255),
    timeout_seconds=st.floats(1, 60),
    rules=st.dictionaries(st.integers(200, 999) | st.just(101), _RULES, max_size=5),
    batch_size=st.integers(1, 100),
    retry_alone=st.booleans(),
    rate_limit=st.none() | st.floats(0.01, 100_000),
    circuit_breaker=st.booleans(),
    body_signature=st.none()
    | st.builds(
        BodySignature,
        header=_HEADERS,
        digest=st.sampled_from(Digest),
        encoding=st.sampled_from(Encoding),
        prefix=st.from_regex(r"[!-~]{0,64}", fullmatch=True),
    ),
    nonce_signature=st.none() | st.just(NonceSignature(header="X-Nonce-Signature")),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=10), inner),
    max_leaves=6,
)


@given(contracts)
def test_a_contract_is_read_as_it_was_written(contract: DeliveryContract) -> None:
    assert read_contract(write_contract(contract)) == contract


@given(
    st.dictionaries(
        st.sampled_from([*DeliveryContract.model_fields]) | st.text(st.characters(), max_size=10), _JSON, max_size=4
    )
)
def test_any_document_is_a_contract_or_refused_by_a_harmless_name(document: dict[str, Any]) -> None:
    refused = refusal(read_contract, document)
    if refused is not None:
        assert isinstance(refused, InvalidWebhook)
        assert refused.field.startswith("contract")
        assert not hostile_values.steering(str(refused), allowed="")
        assert len(str(refused)) < 300


@each("text", hostile_values.ALL.values())
def test_a_hostile_name_or_value_is_refused_and_not_repeated(text: str) -> None:
    signature = {"header": "X-Signature"}
    documents: list[dict[str, Any]] = [
        {text: 1},
        {"rules": {text: {"verdict": "rejected"}}},
        {"rules": {"404": {"verdict": text}}},
        {"rules": {"404": {"verdict": "rejected", text: True}}},
        {"method": text},
        {"envelope": text},
        {"schedule": text},
        {"timeout_seconds": text},
        {"batch_size": text},
        {"body_signature": {"header": text}},
        {"body_signature": {**signature, "digest": text}},
        {"body_signature": {**signature, "prefix": text + "\n"}},
        {"nonce_signature": {"header": text}},
        {"user_agent": text + "\r"},
    ]
    for document in documents:
        with pytest.raises(InvalidWebhook) as refused:
            read_contract(document)
        assert refused.value.field.startswith("contract" if text in document else f"contract.{next(iter(document))}")
        assert text not in str(refused.value)
        assert not hostile_values.steering(str(refused.value), allowed="")
        assert len(str(refused.value)) < 300


def test_a_status_of_very_many_digits_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidWebhook) as refused:
        read_contract({"rules": {"9" * 5000: {"verdict": "rejected"}}})
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("header", ["webhook", "Webhook", "X" * 95])
def test_a_nonce_signature_cannot_have_a_header_whose_others_it_may_not_have(header: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        read_contract({"nonce_signature": {"header": header}})
    assert refused.value.field == "contract.nonce_signature.header"
