"""A `Receiver` behind a route of Flask: `app.add_url_rule("/hook", "hook", view(receiver), methods=["POST"])`."""

from collections.abc import Callable

from flask import Response, request

from dispatcher.verify.receiver import MAX_BODY, Receiver


def view(receiver: Receiver) -> Callable[[], Response]:
    """What to register for POST (and PUT, if the webhook uses it)."""

    def receive() -> Response:
        request.max_content_length = MAX_BODY
        answer = receiver.answer(request.headers, request.get_data())
        return Response(answer.text, answer.status, mimetype="text/plain")

    return receive
