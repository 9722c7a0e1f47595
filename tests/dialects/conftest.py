"""A real API server in a thread for the dialects, and keys to call it with."""

from tests.integration.api.conftest import make_key, server

__all__ = ["make_key", "server"]
