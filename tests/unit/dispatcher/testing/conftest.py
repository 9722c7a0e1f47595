"""The fixtures of `dispatcher.testing`, as pytest gives them to whoever has installed the producer."""

from dispatcher.testing.plugin import enqueued, webhook_receiver

__all__ = ["enqueued", "webhook_receiver"]
