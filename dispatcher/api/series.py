"""`GET /v1/webhooks/{id}/series` and `GET /v1/series`: outcomes and answer times over time."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from dispatcher.accounts.api_keys import Caller
from dispatcher.api.webhooks.access import WebhookId, owner_of
from dispatcher.installation import Installation
from dispatcher.web.authentication import Reader
from dispatcher.web.ownership import Name, account_of
from dispatcher.web.parameters import Time
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served
from dispatcher.webhooks.pulses.answer_times import BOUNDS
from dispatcher.webhooks.pulses.outcomes import ALL
from dispatcher.webhooks.pulses.reading import series
from dispatcher.webhooks.pulses.recent import recent_of
from dispatcher.webhooks.pulses.series import MOST_OUTCOMES, shown_series
from dispatcher.webhooks.pulses.steps import MOST_POINTS, Step, Times
from dispatcher.webhooks.store import Webhooks

router = APIRouter(prefix="/v1")

_Since = Annotated[Time | None, Query(description="From this time on; else from 24 hours before `until`.")]
_Until = Annotated[Time | None, Query(description="Before this time; else up to now.")]
_Step = Annotated[
    Step | None,
    Query(
        description="How far apart the points are. `5m` and `15m` reach back 48 hours, `1h` 35 days, `1d` 400 days. "
        f"Without it, it follows from how long the series is. `5m`, `15m` and `1h` make {MOST_POINTS} points at most."
    ),
]

_ABOUT = (
    "A point counts the requests that were made in its time, by outcome, and how long their answers took. Points begin "
    "at whole steps in UTC, so the first and the last can reach beyond the times that were asked for. All requests are "
    "in it that are recorded; one that is recorded more than two minutes after it was made is added an hour later, or "
    "six."
)


class CountedDocument(BaseModel):
    """Requests, and the messages that they carried."""

    requests: int
    messages: int


class AnswerTimesDocument(BaseModel):
    """How long answers took, of the requests that had one. The percentiles are estimates from classes of time."""

    answers: int
    mean_ms: float
    p50_ms: Annotated[float, Field(description=f"About the median; {BOUNDS[-1]:,} stands for all above it.")]
    p95_ms: float
    p99_ms: float


class CountsDocument(BaseModel):
    """What came of requests."""

    requests: int
    messages: int
    outcomes: Annotated[
        dict[str, CountedDocument],
        Field(
            description="`ok`; `token_refused`: repeated with a new token; else the verdict and the error as in "
            "notices: `rejected:http_404`, `temporary:timeout`. Statuses that HTTP does not define count as `http_5xx` "
            f"and so on. The {MOST_OUTCOMES} most frequent ones of the series are counted one by one, the rest as "
            "`rejected:other` and `temporary:other`. Newer versions may add outcomes."
        ),
    ]
    answer_times: Annotated[AnswerTimesDocument | None, Field(description="Null: there were no answers.")]


class PointDocument(CountsDocument):
    """The same, of the requests that were made from a time on, for one step."""

    starts_at: datetime


class SeriesDocument(BaseModel):
    """Points at equal distances; those without requests are there, too."""

    since: datetime
    until: datetime
    step: Step
    counted_to: Annotated[
        datetime | None,
        Field(description="Later requests are not in it: normally now. Null: nothing was counted yet."),
    ]
    total: CountsDocument
    points: list[PointDocument]


@router.get(
    "/webhooks/{webhook_id}/series",
    operation_id="get_webhook_series",
    response_model=SeriesDocument,
    summary="Outcomes and answer times of a webhook over time",
    description=f"{_ABOUT} Of a deleted webhook it shows what it had.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
    tags=["webhooks"],
)
def get_webhook_series(
    caller: Reader,
    installation: Served,
    webhook_id: WebhookId,
    *,
    since: _Since = None,
    until: _Until = None,
    step: _Step = None,
) -> Response:
    times = Times.of(installation.clock(), since, until, step)
    owner = owner_of(installation, caller, webhook_id)
    with installation.transaction() as session:
        Webhooks(session, installation).get(owner, webhook_id, deleted=True)
    return _read(installation, caller, webhook_id, times)


@router.get(
    "/series",
    operation_id="get_series",
    response_model=SeriesDocument,
    summary="Outcomes and answer times of an account, or of the installation, over time",
    description=f"{_ABOUT} It is the sum of all webhooks of the API key's account, deleted ones included.",
    responses=usual_problems(),
    tags=["installation"],
)
def get_series(
    caller: Reader,
    installation: Served,
    *,
    account: Annotated[
        Name | None, Query(description="Only with an operator's key, which without it gets the whole installation.")
    ] = None,
    since: _Since = None,
    until: _Until = None,
    step: _Step = None,
) -> Response:
    times = Times.of(installation.clock(), since, until, step)
    of_id = ALL
    if account is not None or caller.account_id is not None:
        with installation.transaction() as session:
            of_id = account_of(session, caller, account).id
    return _read(installation, caller, of_id, times)


def _read(installation: Installation, caller: Caller, of_id: UUID, times: Times) -> Response:
    with installation.transaction() as session:
        exact = caller.is_operator
        found = series(session, recent_of(installation), of_id, times, installation.clock(), exact=exact)
    # As bytes, here in the handler's thread: FastAPI would make them in the event loop.
    return Response(SeriesDocument(**shown_series(found)).model_dump_json(), media_type="application/json")
