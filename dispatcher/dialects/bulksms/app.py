"""BulkSMS's API as an application of its own, to be mounted."""

from fastapi import FastAPI, Request, Response

from dispatcher.dialects.bulksms.answers import answer, problem_of
from dispatcher.dialects.bulksms.routes import router
from dispatcher.dialects.frame import dialect_app
from dispatcher.errors import DispatcherError


def create_app() -> FastAPI:
    """A new app."""
    app = dialect_app("BulkSMS", "Webhooks, as clients of BulkSMS's JSON REST API manage them.", answer, router)

    @app.exception_handler(DispatcherError)
    def _of_the_tree(request: Request, error: DispatcherError) -> Response:
        return answer(problem_of(request, error))

    return app
