"""BulkSMS's API as an application of its own, to be mounted."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from dispatcher import __version__
from dispatcher.api import problems
from dispatcher.api.requests import RequestIds
from dispatcher.dialects.bulksms.answers import answer, problem_of
from dispatcher.dialects.bulksms.routes import router
from dispatcher.errors import DispatcherError


def create_app() -> FastAPI:
    """The application; whatever goes wrong in it is answered in the vendor's form."""
    app = FastAPI(
        title="dispatcher: BulkSMS dialect",
        version=__version__,
        description="Webhooks, as clients of BulkSMS's JSON REST API manage them.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app, answer)

    @app.exception_handler(DispatcherError)
    def _of_the_tree(request: Request, error: DispatcherError) -> JSONResponse:
        return answer(problem_of(request, error))

    app.add_middleware(RequestIds, answer=answer)
    app.include_router(router)
    return app
