"""Whatever is sent to an API, native or a vendor's: no defect, no status and no body that its OpenAPI does not know.

`./run.sh fuzz` does the same for longer.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine

from dispatcher import asgi
from dispatcher.accounts.api_keys import Scope
from dispatcher.asgi import DIALECTS
from dispatcher.installation import Installation
from tests.dialects.published import Answers
from tests.dialects.vendors import VENDORS
from tests.integration.api.conftest import MakeKey, make_key

__all__ = ["make_key"]

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ACCOUNT = "acme"

answers = Answers(VENDORS)
app = answers.watching(asgi.app)
# What a client is more likely to send than chance is: the account, and ids that are there.
PARAMETERS = {"project_id": ACCOUNT, "brandId": ACCOUNT}


bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 100,
    suppress_health_check=list(HealthCheck),
    database=None,
)


@pytest.fixture
def schema(request: pytest.FixtureRequest) -> Any:
    made = schemathesis.openapi.from_asgi(f"{request.param}/openapi.json", app)
    made.config.phases.coverage.enabled = EXAMPLES > 100
    return made


def for_each_operation(prefix: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Runs a test with requests for each operation of an API, as subtests of one test. Tests of their own would be made
    anew in each process that collects tests, and that takes as long as to run them."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        subtests = schemathesis.pytest.from_fixture("schema").parametrize()(test)
        return pytest.mark.parametrize("schema", [prefix], indirect=True)(bounded(subtests))

    return decorate


@pytest.fixture(autouse=True)
def logs_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app is started in this process, whose other tests look at logs that nobody has configured."""
    monkeypatch.setattr("dispatcher.asgi.configure_logs", lambda *_: None)


@pytest.fixture(autouse=True)
def every_answer_of_a_dialect_is_as_published() -> Iterator[None]:
    with answers.held():
        yield


@pytest.fixture
def token(database: Engine, make_key: MakeKey) -> str:
    return make_key(ACCOUNT, Scope.READ, Scope.SEND, Scope.MANAGE)


@pytest.fixture
def operator(make_key: MakeKey) -> str:
    return make_key(None, Scope.OPERATOR)


def send(case: Any, authorization: str) -> None:
    for name, value in PARAMETERS.items():
        if name in (case.path_parameters or {}):
            case.path_parameters[name] = value
    case.call_and_validate(headers={"Authorization": authorization}, checks=CHECKS)


@for_each_operation("")
def test_the_native_api(case: Any, token: str, operator: str) -> None:
    for key in (token, operator):
        send(case, f"Bearer {key}")


@for_each_operation("/bulksms")
def test_bulksms(case: Any, token: str) -> None:
    send(case, f"Basic {b64encode(token.replace('.', ':').encode()).decode()}")


@for_each_operation("/everlytic")
def test_everlytic(case: Any, token: str) -> None:
    send(case, f"Basic {b64encode(token.replace('.', ':').encode()).decode()}")


@for_each_operation("/flexengage")
def test_flexengage(case: Any, token: str) -> None:
    send(case, f"Bearer {token}")


@for_each_operation("/sinch")
def test_sinch(case: Any, token: str) -> None:
    send(case, f"Bearer {token}")


@for_each_operation("/zipwhip")
def test_zipwhip(case: Any, token: str, installation: Installation) -> None:
    session = installation.token_mint.session(UUID(token.partition(".")[0]))
    if case.query is not None and "session" in case.query:
        case.query["session"] = session
    send(case, "")


def test_every_dialect_is_among_them() -> None:
    assert {f"test_{prefix.strip('/')}" for prefix in DIALECTS} <= globals().keys()
