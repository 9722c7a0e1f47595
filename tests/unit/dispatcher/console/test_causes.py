"""Why requests failed, as the overview says it."""

from gettext import NullTranslations
from typing import Any

import pytest

from dispatcher.console.figures import cause_of
from dispatcher.console.rendering import _environment
from dispatcher.transport.exchange import FailureKind
from dispatcher.webhooks.pulses.series import OTHER


def said(outcome: str) -> str:
    """What stands for an outcome, without what is only for the eye."""
    macros: Any = _environment(NullTranslations()).get_template("figures.html").module
    return str(macros.cause(cause_of(outcome)).striptags())


@pytest.mark.parametrize("kind", [*FailureKind, "unknown", OTHER])
def test_each_failure_has_words_besides_its_name(kind: str) -> None:
    assert said(f"temporary:{kind}").startswith(f"{kind} ")


def test_a_status_has_its_phrase_or_none_that_is_known() -> None:
    assert said("rejected:http_404") == "404 Not Found"
    assert said("temporary:http_7xx") == "7xx a status that HTTP does not define"
    assert said("temporary:new") == "new"
