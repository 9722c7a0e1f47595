"""A real API server in a thread for the dialects, whose answers must all be as published, and keys to call it with."""

from collections.abc import Iterator

import pytest

from dispatcher.api.app import create_app
from tests.dialects.published import Answers
from tests.dialects.vendors import VENDORS
from tests.integration.api.conftest import make_key, serving

__all__ = ["make_key"]


@pytest.fixture(scope="session")
def answers() -> Answers:
    return Answers(VENDORS)


@pytest.fixture(scope="module")
def server(answers: Answers) -> Iterator[str]:
    """The origin of a running server."""
    with serving(answers.watching(create_app())) as origin:
        yield origin


@pytest.fixture(autouse=True)
def every_answer_is_as_published(answers: Answers) -> Iterator[None]:
    with answers.held():
        yield
