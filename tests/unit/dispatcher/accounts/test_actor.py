from uuid import UUID

import pytest

from dispatcher.accounts.actor import Actor, ApiKey, Call, CommandLine, Console, Dialect, ResponseRule, told

KEY = UUID("0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00")
CALL = Call(UUID("0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a01"), "192.0.2.7")


@pytest.mark.parametrize(
    ("actor", "words", "kind"),
    [
        (ApiKey(KEY, CALL), f"API key {KEY}", "api_key"),
        (Dialect("sinch", KEY, CALL), f"API key {KEY} through sinch", "dialect"),
        (CommandLine("alice"), "command line", "command_line"),
        (ResponseRule(), "response rule", "response_rule"),
    ],
)
def test_each_actor_is_reported_in_one_form_of_words(actor: Actor, words: str, kind: str) -> None:
    assert (str(actor), actor.kind) == (words, kind)


@pytest.mark.parametrize(
    ("actor", "words"),
    [
        (ApiKey(KEY, CALL), f"API key {KEY}"),
        (ApiKey(KEY, CALL, is_operator=True), "an operator"),
        (Dialect("sinch", KEY, CALL, is_operator=True), "an operator"),
        (Console(KEY, None, CALL, is_operator=True), "an operator"),
        (CommandLine("alice"), "command line"),
        (ResponseRule(), "response rule"),
    ],
)
def test_everybody_is_told_of_an_operator_without_ids(actor: Actor, words: str) -> None:
    assert told(actor) == words
