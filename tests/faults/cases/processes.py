"""Processes that are killed, stopped, halted, missing, or there twice."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from itertools import count

import psutil

from dispatcher.embedded.servers.ports import LOOPBACK
from tests.faults.cases.case import case
from tests.faults.cases.load import burst
from tests.faults.ledgers import Died
from tests.faults.rig import Rig
from tests.relay import Relay

_SLOW_STATEMENTS = 0.3  # seconds
_PAST_THE_CLAIM = 5.0
_UNTIL_AN_EVENT = 4.0  # a node sends one every two seconds
_EDITORS, _FEW_EDITS = 3, 100
_PAUSE = 0.2  # seconds, while the API is away in a mix


@case("SIGKILL of a process that delivers", "deliver", promise=2, died=Died.CHILD)
def child_killed(rig: Rig) -> Iterator[None]:
    burst(rig)
    rig.kill_child("deliver", 0)
    yield


@case("SIGKILL of a whole node that delivers; it is started again", "deliver", promise=5, died=Died.NODE)
def deliver_killed(rig: Rig) -> Iterator[None]:
    yield from _killed(rig, "deliver")


@case("SIGKILL of the maintenance worker; it is started again", "upkeep", promise=15, lasts=3, mails=True)
def upkeep_killed(rig: Rig) -> Iterator[None]:
    yield from _killed(rig, "upkeep")


@case("SIGKILL of beat; it is started again", "beat", promise=3, lasts=3, mails=True)
def beat_killed(rig: Rig) -> Iterator[None]:
    yield from _killed(rig, "beat")


def _killed(rig: Rig, name: str) -> Iterator[None]:
    burst(rig)
    rig.kill(name)
    rig.start_node(name)
    yield
    rig.await_node(name)


@case("SIGKILL of the API while it handles requests; it is started again", "api postgres", promise=3, lasts=0.5)
def api_killed(rig: Rig) -> Iterator[None]:
    rig.stage.relays.postgres.delay_seconds = _SLOW_STATEMENTS  # so that requests are under way
    yield
    rig.kill("api")
    rig.stage.relays.postgres.restore()
    rig.start_node("api")
    rig.await_node("api")


@case("SIGTERM of the node that delivers, under load; it is started again", "deliver", promise=5)
def deliver_stopped(rig: Rig) -> Iterator[None]:
    yield from _stopped(rig, "deliver")


@case("SIGTERM of the node that delivers, while the broker is silent", "deliver valkey", promise=6, mails=True)
def stopped_without_broker(rig: Rig) -> Iterator[None]:
    yield from _stopped_in_silence(rig, rig.stage.relays.valkey)


@case("SIGTERM of the node that delivers, while PostgreSQL is silent", "deliver postgres", promise=6, died=Died.NODE)
def stopped_without_postgres(rig: Rig) -> Iterator[None]:
    yield from _stopped_in_silence(rig, rig.stage.relays.postgres)


def _stopped_in_silence(rig: Rig, relay: Relay) -> Iterator[None]:
    burst(rig)
    relay.be_silent()
    time.sleep(_UNTIL_AN_EVENT)
    rig.stop("deliver")
    relay.restore()
    rig.start_node("deliver")
    yield
    rig.await_node("deliver")


@case("SIGTERM of the maintenance worker; it is started again", "upkeep", promise=5, mails=True)
def upkeep_stopped(rig: Rig) -> Iterator[None]:
    yield from _stopped(rig, "upkeep")


@case("SIGTERM of the API, under load; it is started again", "api", promise=3)
def api_stopped(rig: Rig) -> Iterator[None]:
    yield from _stopped(rig, "api")


def _stopped(rig: Rig, name: str) -> Iterator[None]:
    burst(rig)
    rig.stop(name)
    rig.start_node(name)
    yield
    rig.await_node(name)


@case("SIGSTOP of a process that delivers, for longer than its claims last", "deliver", promise=5, died=Died.CLAIM)
def child_halted(rig: Rig) -> Iterator[None]:
    burst(rig)
    child = rig.children("deliver")[0]
    child.suspend()
    try:
        time.sleep(rig.stage.lease + _PAST_THE_CLAIM)
        yield
    finally:
        child.resume()


@case("SIGSTOP of the whole node that delivers, for longer than its claims last", "deliver", promise=5, died=Died.CLAIM)
def deliver_halted(rig: Rig) -> Iterator[None]:
    node = psutil.Process(rig.node("deliver").pid)
    burst(rig)
    halted = [node, *node.children(recursive=True)]
    for process in halted:
        process.suspend()
    try:
        time.sleep(rig.stage.lease + _PAST_THE_CLAIM)
        yield
    finally:
        for process in halted:
            process.resume()


@case("no beat", "beat", promise=3, lasts=20, lasts_short=8, mails=True)
def no_beat(rig: Rig) -> Iterator[None]:
    rig.kill("beat")
    yield
    rig.start_node("beat")


@case("two beats at once", "beat", promise=2, lasts=10, mails=True)
def two_beats(rig: Rig) -> Iterator[None]:
    rig.start_node("second-beat")
    yield
    rig.kill("second-beat")


@case("webhooks are edited over the API as fast as it goes", "api", promise=3, lasts=30, lasts_short=10)
def webhooks_edited(rig: Rig) -> Iterator[None]:
    ended, edits = threading.Event(), [0] * _EDITORS
    paths = [path for path in rig.webhooks if path.startswith("/ok/")]

    def edit(editor: int) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, rig.api_port, timeout=15)
        headers = {"Authorization": f"Bearer {rig.token}", "Content-Type": "application/json"}
        for number in count():
            if ended.is_set():
                return
            path = paths[number % len(paths)]
            body = json.dumps({"name": f"{path} {editor} {number}"})
            try:
                connection.request("PATCH", f"/v1/webhooks/{rig.webhooks[path]}", body, headers)
                answer = connection.getresponse()
                said, status = answer.read(), answer.status
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                said, status = type(error).__name__.encode(), http.HTTPStatus.SERVICE_UNAVAILABLE
            if rig.is_mixed and status == http.HTTPStatus.SERVICE_UNAVAILABLE:
                time.sleep(_PAUSE)
            elif status not in {200, 409}:  # 409: another one edited it meanwhile
                rig.problems.append(f"an edit of a webhook was answered {status}: {said[:200]!r}")
                return
            edits[editor] += status == http.HTTPStatus.OK

    editors = [threading.Thread(target=edit, args=(number,)) for number in range(_EDITORS)]
    for editor in editors:
        editor.start()
    yield
    ended.set()
    for editor in editors:
        editor.join(30)
    if sum(edits) < _FEW_EDITS and not rig.is_mixed:
        rig.problems.append(f"webhooks were edited {sum(edits)} times only")
