"""The broker, as all processes use it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError

from dispatcher.broker.address import read_broker_url
from dispatcher.broker.clients import broker_pool, prove_writable, try_once
from dispatcher.diagnosis.findings import Finding, fail, not_checked
from dispatcher.diagnosis.judging import broker as judging
from dispatcher.diagnosis.judging.broker import Memory
from dispatcher.diagnosis.running import Patient

_STEP = 2.0  # seconds
_TRIES = 5


def place(patient: Patient) -> str:
    return read_broker_url(patient.installation.settings.broker_url.get_secret_value()).place


def answers(patient: Patient) -> Sequence[Finding]:
    too_old = try_once(patient.installation.settings.broker_url.get_secret_value(), seconds=_STEP)
    if too_old:
        return [fail(too_old, "")]
    with _client(patient) as client:
        took = []
        for _ in range(_TRIES):
            began = monotonic()
            prove_writable(client)
            took.append(monotonic() - began)
        return [judging.answers(_version(client), min(took))]


def memory(patient: Patient) -> Sequence[Finding]:
    with _client(patient) as client:
        try:
            found: Any = client.info("memory")
        except NoPermissionError:
            return [not_checked("this user of the broker may not ask (INFO)", "maxmemory-policy must be noeviction")]
    if "maxmemory_policy" not in found:
        return [not_checked("the broker does not say its maxmemory-policy", "it must be noeviction")]
    return judging.memory(Memory(found["maxmemory_policy"], found["used_memory"], found["maxmemory"]))


def _version(client: "Redis") -> str:
    try:
        told: Any = client.info("server")
    except NoPermissionError:
        return "it"
    if "valkey_version" in told:
        return f"Valkey {told['valkey_version']}"
    return f"Redis {told.get('redis_version', '')}".strip()


@contextmanager
def _client(patient: Patient) -> Iterator["Redis"]:
    pool = broker_pool(patient.installation.settings.broker_url.get_secret_value(), seconds=_STEP)
    try:
        yield Redis(connection_pool=pool)
    finally:
        pool.disconnect()
        if (sentinels := getattr(pool, "sentinel_manager", None)) is not None:
            sentinels.close()
