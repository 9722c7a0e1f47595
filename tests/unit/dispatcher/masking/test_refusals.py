"""A refusal is a plain sentence, and never the checking library's own."""

from typing import Any

import pytest

from dispatcher.errors import InvalidWebhook
from dispatcher.webhooks.contract import read_contract
from tests.each import each

ABOUT: dict[str, dict[str, Any]] = {
    "timeout_seconds must be at most 60": {"timeout_seconds": 61},
    "timeout_seconds must be a number": {"timeout_seconds": "soon"},
    "rate_limit must be at least 0.01": {"rate_limit": 0},
    "rate_limit must be at most 100,000": {"rate_limit": 1e9},
    "rate_limit must be a finite number": {"rate_limit": float("nan")},
    "batch_size must be a whole number": {"batch_size": 1.5},
    "method must be one of: POST, PUT, GET": {"method": "PATCH"},
    "circuit_breaker must be true or false": {"circuit_breaker": "perhaps"},
    "user_agent must have at least 1 character": {"user_agent": ""},
    "user_agent must have at most 255 characters": {"user_agent": "a" * 256},
    "user_agent has characters that are not allowed here": {"user_agent": "ü"},
    "user_agent must be text": {"user_agent": 1},
    "members must have at most 20 items": {"members": [["a", "data"]] * 21},
    "members.0 must be a list": {"members": [1]},
    "rules must be an object": {"rules": []},
    "rules.404.verdict is required": {"rules": {"404": {}}},
    "rules must be for a final status: 101, or 200 to 999": {"rules": {"100": {"verdict": "rejected"}}},
    "schedule must be one of: default, doubling, hour": {"schedule": "never"},
    "client_certificate cannot be set": {"client_certificate": "-----BEGIN"},
    "colour is not known": {"colour": "red"},
}


@each("said", ABOUT)
def test_it_is_said_in_words_what_is_wrong(said: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        read_contract(ABOUT[said])
    assert str(refused.value) == f"contract.{said}"
