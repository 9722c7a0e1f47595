"""Networks before PostgreSQL and Valkey that are slow, cut connections, or take packets without a word."""

from collections.abc import Iterator

from tests.faults.cases.case import case
from tests.faults.ledgers import Died
from tests.faults.rig import Rig
from tests.relay import Relay

_DELAY = 0.05  # seconds, each way


def _vanished(relay: Relay) -> Iterator[None]:
    relay.vanish(new=True)
    yield
    relay.restore()


def _silent(relay: Relay) -> Iterator[None]:
    relay.be_silent()
    yield
    relay.restore()


def _delayed(relay: Relay) -> Iterator[None]:
    relay.delay_seconds = _DELAY
    yield
    relay.restore()


def _reset(relay: Relay) -> Iterator[None]:
    relay.reset()
    yield


def _half_open(relay: Relay) -> Iterator[None]:
    relay.forget()
    yield
    relay.restore()


@case("nothing sent to PostgreSQL arrives for a while", "postgres", promise=5, lasts=25, lasts_short=8, died=Died.CLAIM)
def postgres_vanished(rig: Rig) -> Iterator[None]:
    yield from _vanished(rig.stage.relays.postgres)


@case("PostgreSQL stands still: it takes all and answers nothing", "postgres", promise=5, lasts=15, lasts_short=8)
def postgres_silent(rig: Rig) -> Iterator[None]:
    yield from _silent(rig.stage.relays.postgres)


@case("PostgreSQL is 100 ms away", "postgres", promise=3, lasts=10)
def postgres_delayed(rig: Rig) -> Iterator[None]:
    yield from _delayed(rig.stage.relays.postgres)


@case("all connections to PostgreSQL are reset", "postgres", promise=5)
def postgres_reset(rig: Rig) -> Iterator[None]:
    yield from _reset(rig.stage.relays.postgres)


@case("connections to PostgreSQL are half open: its end has forgotten them", "postgres", promise=5, lasts=5)
def postgres_half_open(rig: Rig) -> Iterator[None]:
    yield from _half_open(rig.stage.relays.postgres)


@case("nothing sent to Valkey arrives for a while", "valkey", promise=6, lasts=20, lasts_short=8, mails=True)
def broker_vanished(rig: Rig) -> Iterator[None]:
    yield from _vanished(rig.stage.relays.valkey)


@case("fail-over of Valkey: the old one vanished without a word", "valkey", promise=30, mails=True)
def broker_fail_over(rig: Rig) -> Iterator[None]:
    rig.stage.relays.valkey.vanish(new=False, server=False)
    yield


@case("Valkey stands still: it takes all and answers nothing", "valkey", promise=6, lasts=15, mails=True)
def broker_silent(rig: Rig) -> Iterator[None]:
    yield from _silent(rig.stage.relays.valkey)


@case("Valkey is 100 ms away", "valkey", promise=3, lasts=10, mails=True)
def broker_delayed(rig: Rig) -> Iterator[None]:
    yield from _delayed(rig.stage.relays.valkey)


@case("all connections to Valkey are reset", "valkey", promise=6, mails=True)
def broker_reset(rig: Rig) -> Iterator[None]:
    yield from _reset(rig.stage.relays.valkey)


@case("connections to Valkey are half open: its end has forgotten them", "valkey", promise=6, lasts=5, mails=True)
def broker_half_open(rig: Rig) -> Iterator[None]:
    yield from _half_open(rig.stage.relays.valkey)
