"""The fixtures. pytest loads this in each run where `dispatcher-producer` is installed, so it imports nothing until a
test asks for one of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dispatcher.testing.enqueued import Enqueued
    from dispatcher.testing.receiver import WebhookReceiver


@pytest.fixture
def enqueued() -> Iterator["Enqueued"]:
    """What the test enqueues: checked, collected and not stored. It needs no database, no broker and no settings."""
    from dispatcher.testing.enqueued import collecting  # noqa: PLC0415 - as the module says

    with collecting() as collected:
        yield collected


@pytest.fixture
def webhook_receiver() -> Iterator["WebhookReceiver"]:
    """A receiver on 127.0.0.1, which keeps what it is sent, checks signatures, and answers as it is told."""
    from dispatcher.testing.receiver import WebhookReceiver  # noqa: PLC0415 - as the module says

    with WebhookReceiver() as receiver:
        yield receiver
