"""`/healthz`: this process answers. `/readyz`: it could do its work now, which is tried in bounded time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from dispatcher.diagnosis.readiness import PARTS, new_engine, what_fails
from dispatcher.errors import WrongSettings
from dispatcher.installation import Installation
from dispatcher.version import __version__
from dispatcher.web.serving import Shared

router = APIRouter(tags=["health"])

_WITHIN = 4.5  # seconds for all parts


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: Annotated[str, Field(description="Of the program that answers.")] = __version__


class Part(BaseModel):
    """One dependency."""

    status: Literal["ok", "failed"]
    detail: Annotated[str | None, Field(description="What is wrong and what to do, without addresses or secrets.")]


_LATE = Part(status="failed", detail="does not answer in time")


class Readiness(BaseModel):
    """Whether requests can be served."""

    status: Literal["ready", "not ready"]
    parts: dict[str, Part]


@router.get(
    "/healthz",
    operation_id="healthz",
    summary="This process is alive",
    description="It needs nothing else: neither settings nor database.",
)
def healthz() -> Alive:
    return Alive()


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Database, encryption keys, broker and transport are ready",
    description="Tries what requests need: it stores an event and takes it back, decrypts a secret, and writes to the "
    "broker. Answers within 5 s, with 503 while a part fails; `detail` says what to do, without addresses or secrets. "
    "Calls that come at once share a check.",
    responses={HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": Readiness, "description": "A part fails."}},
)
async def readyz(response: Response, serving: Shared) -> Readiness:
    try:
        installation = serving.installation
    except WrongSettings as error:
        parts = {"settings": Part(status="failed", detail="\n".join(error.reasons))}
    else:
        check = installation.kept.get(_check)
        if check is None:
            check = installation.kept[_check] = asyncio.ensure_future(_check(installation))
            check.add_done_callback(lambda _: installation.kept.pop(_check, None))
        parts = await asyncio.shield(check)
    ready = all(part.status == "ok" for part in parts.values())
    if not ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(status="ready" if ready else "not ready", parts=parts)


async def _check(installation: Installation) -> dict[str, Part]:
    """Each part in a thread of its own: those of the requests may all wait for the database."""
    kept = installation.kept
    engine = kept[new_engine] = kept.get(new_engine) or new_engine(installation)
    threads = ThreadPoolExecutor(len(PARTS))
    run = asyncio.get_running_loop().run_in_executor
    checks = {part: run(threads, _examine, check, installation, engine) for part, check in PARTS.items()}
    await asyncio.wait(checks.values(), timeout=_WITHIN)
    threads.shutdown(wait=False)
    return {part: check.result() if check.done() else _LATE for part, check in checks.items()}


def _examine(check: Callable[[Installation, Engine], None], installation: Installation, engine: Engine) -> Part:
    try:
        check(installation, engine)
    except Exception as error:
        if (detail := what_fails(error)) is None:
            raise
        return Part(status="failed", detail=detail)
    return Part(status="ok", detail=None)
