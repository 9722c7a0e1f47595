"""`/healthz`: this process answers. `/readyz`: so does everything it needs, checked on each call in bounded time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.broker.clients import try_once
from dispatcher.db.outages import explain_outage
from dispatcher.db.version import check_migrated
from dispatcher.encryption.vault import EncryptionKeys
from dispatcher.errors import ConfigurationError
from dispatcher.settings import Settings
from dispatcher.transport.choice import check_transport
from dispatcher.version import __version__
from dispatcher.web.serving import Shared

router = APIRouter(tags=["health"])

_SECONDS = 2


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: Annotated[str, Field(description="Of the program that answers.")] = __version__


class Part(BaseModel):
    """One dependency."""

    status: Literal["ok", "failed"]
    detail: Annotated[str | None, Field(description="What is wrong and what to do, without addresses or secrets.")]


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
    description="Checked on each call, in bounded time. Answers 503 while a part fails; `detail` says what to do, "
    "without addresses or secrets.",
    responses={HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": Readiness, "description": "A part fails."}},
)
def readyz(response: Response, serving: Shared) -> Readiness:
    try:
        settings = serving.installation.settings
    except ConfigurationError as error:
        parts = {"settings": Part(status="failed", detail=str(error))}
    else:
        with ThreadPoolExecutor(max_workers=2) as pool:
            broker = pool.submit(_examine, _check_broker, settings)
            transport = _examine(check_transport, settings)
            parts = {**_examine_database(settings), "broker": broker.result(), "transport": transport}
    ready = all(part.status == "ok" for part in parts.values())
    if not ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(status="ready" if ready else "not ready", parts=parts)


def _examine_database(settings: Settings) -> dict[str, Part]:
    database = _examine(_check_database, settings)
    keys = Part(status="failed", detail="cannot be checked without the database")
    if database.status == "ok":
        keys = _examine(_check_encryption, settings)
    return {"database": database, "encryption_keys": keys}


def _examine(check: Callable[[Settings], None], settings: Settings) -> Part:
    try:
        check(settings)
    except ConfigurationError as error:
        return Part(status="failed", detail=str(error))
    except SQLAlchemyError as error:
        return Part(status="failed", detail=explain_outage(error) or f"the database fails: {type(error).__name__}")
    except ResponseError as error:
        return Part(status="failed", detail=f"the broker (BROKER_URL) takes nothing: {type(error).__name__}")
    except (RedisError, OSError) as error:
        return Part(status="failed", detail=f"the broker (BROKER_URL) does not answer: {type(error).__name__}")
    return Part(status="ok", detail=None)


def _check_database(settings: Settings) -> None:
    with _probing_engine(settings).connect() as connection:
        check_migrated(connection)


def _check_encryption(settings: Settings) -> None:
    keys = EncryptionKeys(settings.encryption_keys.get_secret_value())
    with _probing_engine(settings).connect() as connection:
        stored = connection.scalar(text("SELECT digest_key FROM dispatcher.installation"))
    if stored is not None:
        keys.decrypt(stored)


def _check_broker(settings: Settings) -> None:
    # To connect and to answer are a step each.
    try_once(settings.broker_url.get_secret_value(), seconds=_SECONDS / 2)


def _probing_engine(settings: Settings) -> Engine:
    """An engine that opens a new connection each time and gives up soon: the process's own pool would wait longer."""
    return create_engine(
        settings.database_url.get_secret_value(),
        poolclass=NullPool,
        connect_args={
            "application_name": "dispatcher-readyz",
            "connect_timeout": _SECONDS,
            "tcp_user_timeout": _SECONDS * 1000,
            "options": f"-c statement_timeout={_SECONDS}s",
        },
    )
