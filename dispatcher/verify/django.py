"""A `Receiver` behind a route of Django: `path("hook", view(receiver))`.

Django refuses bodies above its setting DATA_UPLOAD_MAX_MEMORY_SIZE, 2.5 MiB by default: batches may have 1 MiB.
"""

from collections.abc import Callable
from typing import cast

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from dispatcher.verify.receiver import Receiver

View = Callable[[HttpRequest], HttpResponse]


def view(receiver: Receiver) -> View:
    """What to register. It takes POST and PUT, without a CSRF token: the signature takes its place."""

    def receive(request: HttpRequest) -> HttpResponse:
        answer = receiver.answer(request.headers, request.body)
        return HttpResponse(answer.text, status=answer.status, content_type="text/plain")

    return cast(View, csrf_exempt(require_http_methods(["POST", "PUT"])(receive)))
