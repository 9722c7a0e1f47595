"""A real API server in a thread, and keys to call it with. Every answer of a dialect must be as published."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from dispatcher.asgi import create_app
from tests.conftest import Servers
from tests.dialects.callers import Vendors
from tests.dialects.published import Answers
from tests.dialects.vendors import VENDORS
from tests.integration.api.conftest import Running, api, lasting_app, make_key, manager, restarted, server

__all__ = ["api", "make_key", "manager", "restarted", "server"]


@pytest.fixture(scope="session")
def answers() -> Answers:
    return Answers(VENDORS)


@pytest.fixture(scope="session")
def running(servers: Servers, answers: Answers) -> Iterator[Running]:
    app = create_app()
    with lasting_app(answers.watching(app)) as origin:
        yield Running(origin, app.state.serving.close, app.state.serving.failures.forget, app.state.serving)


@pytest.fixture(autouse=True)
def every_answer_is_as_published(answers: Answers) -> Iterator[None]:
    with answers.held():
        yield


@pytest.fixture
def vendors(server: str, manager: str, database: Engine) -> Vendors:
    """All dialects, called with a key of the account acme."""
    return Vendors(server, manager, database)
