"""Both transports, and a token server."""

import pytest

from dispatcher.settings import Settings
from tests.integration.workers.tokens.token_server import TokenServer
from tests.receiver import Receiver


@pytest.fixture(params=["curl", "requests"])
def either(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """The settings, with each of the transports."""
    return settings.model_copy(update={"transport": request.param})


@pytest.fixture
def server(receiver: Receiver) -> TokenServer:
    """A token server beside the receiver's other paths."""
    return TokenServer(receiver)
