"""Sinch's API as an application of its own, to be mounted."""

from fastapi import FastAPI

from dispatcher.dialects.frame import dialect_app
from dispatcher.dialects.sinch.answers import answer
from dispatcher.dialects.sinch.routes import router
from dispatcher.web import oauth2

_ABOUT = "Webhooks of a project's apps, as clients of Sinch's Conversation API manage them."


def create_app() -> FastAPI:
    """A new app."""
    return dialect_app("Sinch", _ABOUT, answer, oauth2.router, router)
