"""Zipwhip's API as an application of its own, to be mounted."""

from fastapi import FastAPI, Request, Response

from dispatcher.dialects.frame import dialect_app
from dispatcher.dialects.zipwhip.answers import answer, answer_to, refusal
from dispatcher.dialects.zipwhip.parameters import Refused
from dispatcher.dialects.zipwhip.routes import router
from dispatcher.errors import DispatcherError


def create_app() -> FastAPI:
    """A new app."""
    app = dialect_app("Zipwhip", "Webhooks, as clients of Zipwhip's API manage them.", answer, router)

    @app.exception_handler(DispatcherError)
    def _of_the_tree(_: Request, error: DispatcherError) -> Response:
        return answer_to(error)

    @app.exception_handler(Refused)
    def _refused(_: Request, error: Refused) -> Response:
        return refusal(str(error))

    return app
