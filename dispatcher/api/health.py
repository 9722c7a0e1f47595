"""`/healthz`: this process answers. `/readyz`: it could do its work now, which is tried in bounded time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.broker.clients import try_once
from dispatcher.db.engines import Limits, make_engine
from dispatcher.db.outages import explain_outage
from dispatcher.db.poolers import check_told
from dispatcher.db.version import check_migrated, check_postgres
from dispatcher.encryption.vault import EncryptionKeys
from dispatcher.errors import ConfigurationError, WrongSettings
from dispatcher.events.event import Event
from dispatcher.events.storing import checked, drive, rules_of
from dispatcher.installation import Installation
from dispatcher.transport.choice import check_transport
from dispatcher.version import __version__
from dispatcher.web.serving import Shared

router = APIRouter(tags=["health"])

_SECONDS = 2  # for each step of a check
_WITHIN = 4.5  # for all of them
_ACCOUNT = text("INSERT INTO dispatcher.accounts (id, name) VALUES (gen_random_uuid(), :name)")
_DIGEST_KEY = text("SELECT digest_key FROM dispatcher.installation")
# Tables have free space in them that a full disk leaves; a temporary file has not.
_USE_DISK = text("SET LOCAL work_mem = '64kB'"), text("SELECT count(*) FROM generate_series(1, 20000)")


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
    engine = kept[_engine] = kept.get(_engine) or _engine(installation)
    threads = ThreadPoolExecutor(len(_PARTS))
    run = asyncio.get_running_loop().run_in_executor
    checks = {part: run(threads, _examine, check, installation, engine) for part, check in _PARTS.items()}
    await asyncio.wait(checks.values(), timeout=_WITHIN)
    threads.shutdown(wait=False)
    return {part: check.result() if check.done() else _LATE for part, check in checks.items()}


def _examine(check: Callable[[Installation, Engine], None], installation: Installation, engine: Engine) -> Part:
    try:
        check(installation, engine)
    except ConfigurationError as error:
        return Part(status="failed", detail=str(error))
    except SQLAlchemyError as error:
        return Part(status="failed", detail=explain_outage(error) or f"the database fails: {type(error).__name__}")
    except ResponseError as error:
        return Part(status="failed", detail=f"the broker (BROKER_URL) takes nothing: {type(error).__name__}")
    except (RedisError, OSError) as error:
        return Part(status="failed", detail=f"the broker (BROKER_URL) does not answer: {type(error).__name__}")
    return Part(status="ok", detail=None)


def _check_database(installation: Installation, engine: Engine) -> None:
    """Stores an event of an account of its own, and takes both back."""
    name = f"readyz-{uuid4()}"
    with engine.connect() as connection:
        check_told(connection)
        check_postgres(connection)
        check_migrated(connection)
        connection.execute(_ACCOUNT, {"name": name})
        drive(
            [checked(Event(type="readyz", data=None, account=name))],
            rules_of(installation.settings, utf8=True),
            installation.clock,
            lambda statement, given: connection.execute(statement.text, given).all(),
        )
        for statement in _USE_DISK:
            connection.execute(statement)
        connection.rollback()


def _check_encryption(installation: Installation, engine: Engine) -> None:
    keys = EncryptionKeys(installation.settings.encryption_keys.get_secret_value())
    with engine.connect() as connection:
        stored = connection.scalar(_DIGEST_KEY)
    if stored is not None:
        keys.decrypt(stored)


def _check_broker(installation: Installation, _: Engine) -> None:
    # To connect and to answer are a step each.
    too_old = try_once(installation.settings.broker_url.get_secret_value(), seconds=_SECONDS / 2)
    if too_old:
        raise ConfigurationError(too_old)


def _check_transport(installation: Installation, _: Engine) -> None:
    check_transport(installation.settings)


def _engine(installation: Installation) -> Engine:
    """With a new connection each time: the process's own may be in use."""
    settings = installation.settings
    return make_engine(
        settings.database_url.get_secret_value(),
        application_name="dispatcher-readyz",
        pooler=settings.database_pooler,
        limits=Limits(_SECONDS, lock=_SECONDS / 2),
        connect_seconds=_SECONDS,
        most_connections=0,
    )


_PARTS: dict[str, Callable[[Installation, Engine], None]] = {
    "database": _check_database,
    "encryption_keys": _check_encryption,
    "broker": _check_broker,
    "transport": _check_transport,
}
