"""`GET /metrics`, for Prometheus."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from dispatcher.accounts.api_keys import Scope
from dispatcher.api.metrics import families
from dispatcher.api.metrics.reading import Measured, Reading
from dispatcher.metrics.family import BUILD, values_of
from dispatcher.metrics.page import CONTENT_TYPE, page, shows_token
from dispatcher.version import __version__
from dispatcher.web.authentication import WhoMay, counted_caller
from dispatcher.web.problems import Problem
from dispatcher.web.request_counts import DURATION, GROUP_SIZE, PLACES, RequestCounts
from dispatcher.web.serving import Serving, Shared

router = APIRouter(include_in_schema=False)  # it is the operator's


@router.get("/metrics")
async def metrics(request: Request, serving: Shared) -> Response:
    installation = serving.installation
    await _check_caller(request, serving)
    reading: Reading | None = installation.kept.get(Reading)
    if reading is None:
        reading = installation.kept[Reading] = Reading(installation)
    return Response(page([*_own(serving.counts), *await reading.now()]), media_type=CONTENT_TYPE)


async def _check_caller(request: Request, serving: Serving) -> None:
    """Raises Problem 404 while there is no token; 401 and 403 for whoever shows neither it nor an operator's key."""
    token = serving.installation.settings.metrics_token.get_secret_value()
    if not token:
        raise Problem(HTTPStatus.NOT_FOUND, "metrics are shown once DISPATCHER_METRICS_TOKEN is set")
    if not shows_token(request.headers.get("authorization"), token):
        await WhoMay(Scope.OBSERVE)(request, serving, await counted_caller(request, serving))


def _own(counts: RequestCounts) -> Measured:
    """What this process counts."""
    events = counts.events()
    accepted = events.pop("", 0)
    answered = counts.answered.copy()
    return [
        (BUILD, {(__version__,): (1,)}),
        (families.REQUESTS, {(one.route, one.method, str(one.status)): (n,) for one, n in answered.items()}),
        *((family, values_of(family, PLACES, counts.cells)) for family in (DURATION, GROUP_SIZE)),
        (families.ACCEPTED, {(): (accepted,)}),
        (families.REFUSED, {(reason,): (number,) for reason, number in events.items()}),
        (families.AT_QUOTA, {(quota,): (number,) for quota, number in counts.refused_at.copy().items()}),
        (families.UNCOUNTED, {(): (counts.let_in,)}),
    ]
