"""The check of a callback that is in Sinch's own library."""

from typing import Any


def sinch_events(secret: str) -> Any:
    """What Sinch's library offers to a receiver with this secret."""
    # Loaded at the first use: that takes as long as a thousand tests, and each process that runs tests collects all.
    from sinch import SinchClient  # noqa: PLC0415 - see above

    client: Any = SinchClient(key_id="key", key_secret="secret", project_id="project")
    return client.conversation.sinch_events(secret)
