"""What pages do with a refusal: they show it where it was asked for, with what was filled in."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from dispatcher.api.webhooks.fields import fields_as_given
from dispatcher.console.forms import Problems
from dispatcher.console.view import View
from dispatcher.console.webhook_form import problems_of
from dispatcher.errors import DispatcherError, NameTaken, UrlVerificationFailed
from dispatcher.web.problems import Problem, problem_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nothing was done: by field, and what came back if the URL was tested."""

    problems: Problems
    came_back: str | None = None


def attempt(view: View, act: Callable[[], T]) -> T | Refused:
    """What `act` returns, or why it was refused. Raises what leaves nothing to fill in: NotFound, and faults of
    ours."""
    came_back = None
    try:
        with fields_as_given(view.caller):
            try:
                return act()
            except UrlVerificationFailed as failed:
                came_back = failed.exactly if view.caller.is_operator else failed.came_back
                raise
    except NameTaken as error:
        return Refused(Problems({"name": str(error)}))
    except (Problem, DispatcherError) as error:
        problem = problem_of(error)
        if problem.status in {HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR}:
            raise
        return Refused(problems_of(problem), came_back)


def may_see_secrets(view: View) -> None:
    """Raises Problem 403 for who may not see a webhook's URL and signing keys in clear."""
    if not view.may_see_secrets:
        raise Problem(HTTPStatus.FORBIDDEN, "your link does not let you see secrets")
