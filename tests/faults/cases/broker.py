"""Valkey that ends, forgets, is full, or answers with errors."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from signal import Signals

import redis

from dispatcher.embedded.servers.ports import LOOPBACK
from tests.dead_ports import refusing_port
from tests.faults.cases.case import case
from tests.faults.rig import Rig


@case("Valkey is restarted, and keeps its data", "valkey", promise=6, mails=True)
def broker_restart(rig: Rig) -> Iterator[None]:
    rig.stage.valkey.end(Signals.SIGTERM)
    yield
    rig.stage.valkey.start_again()


@case("Valkey is killed, and away for a while", "valkey", promise=6, lasts=15, lasts_short=5, mails=True)
def broker_killed(rig: Rig) -> Iterator[None]:
    rig.stage.valkey.crash()
    yield
    rig.stage.valkey.start_again()


@case("all that Valkey holds is deleted, several times", "valkey", promise=6, lasts=3, mails=True)
def broker_flushed(rig: Rig) -> Iterator[None]:
    with rig.broker() as client:
        for _ in range(3):
            client.flushall()
            time.sleep(0.2)
        yield
        client.flushall()


@case("Valkey has no memory left: it answers OOM to each write", "valkey", promise=6, lasts=10, mails=True)
def broker_out_of_memory(rig: Rig) -> Iterator[None]:
    with rig.broker() as client:
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", "0")


@case("Valkey is demoted: it answers READONLY to each write", "valkey", promise=6, lasts=10, mails=True)
def broker_read_only(rig: Rig) -> Iterator[None]:
    with rig.broker() as client:
        client.execute_command("REPLICAOF", LOOPBACK, refusing_port())
        yield
        client.execute_command("REPLICAOF", "NO", "ONE")


@case(
    "Valkey answers UNBLOCKED to all that wait for it, as at a change of roles",
    "valkey",
    promise=6,
    lasts=5,
    mails=True,
)
def broker_unblocked(rig: Rig) -> Iterator[None]:
    ended = threading.Event()

    def unblock() -> None:
        with rig.broker() as client:
            while not ended.wait(0.1):
                for one in client.client_list():
                    if "b" in one["flags"]:
                        with suppress(redis.ResponseError):
                            client.execute_command("CLIENT", "UNBLOCK", one["id"], "ERROR")

    thread = threading.Thread(target=unblock, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()
