"""flexEngage's API as an application of its own, to be mounted."""

from fastapi import FastAPI

from dispatcher.dialects.flexengage import event_routes, webhook_routes
from dispatcher.dialects.flexengage.answers import answer
from dispatcher.dialects.frame import dialect_app

_ABOUT = "Webhooks of a brand and the log of their events, as flexEngage's clients manage them."


def create_app() -> FastAPI:
    """A new app."""
    return dialect_app("flexEngage", _ABOUT, answer, webhook_routes.router, event_routes.router)
