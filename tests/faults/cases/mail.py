"""A mail server that is away, slow, refuses for now, or gives no answer. What failed cleanly is tried again a minute
later, a time that no setting shortens; what may have been sent is never sent again."""

from collections.abc import Iterator

from tests.faults.cases.case import case
from tests.faults.rig import Rig
from tests.mail_server import Drop, Fault, Say, Stage

_PROMISE = 65.0
_MANY = 1_000  # connections


@case("the mail server refuses connections", "smtp", promise=_PROMISE, lasts=8, mails=True)
def mail_server_dead(rig: Rig) -> Iterator[None]:
    rig.stage.relays.smtp.cut()
    yield
    rig.stage.relays.smtp.restore()


@case("the mail server takes seconds for each answer", "smtp", promise=30, lasts=10, mails=True)
def mail_server_slow(rig: Rig) -> Iterator[None]:
    rig.stage.relays.smtp.delay_seconds = 0.5
    yield
    rig.stage.relays.smtp.restore()


@case("the mail server vanished without a word", "smtp", promise=_PROMISE, lasts=15, mails=True)
def mail_server_vanished(rig: Rig) -> Iterator[None]:
    rig.stage.relays.smtp.vanish(new=True)
    yield
    rig.stage.relays.smtp.restore()


@case("the mail server answers 451 to each recipient", "smtp", promise=_PROMISE, lasts=8, mails=True)
def mail_server_says_later(rig: Rig) -> Iterator[None]:
    yield from _scripted(rig, Say(Stage.RCPT, "451 try again later"))


@case("the mail server takes each message and drops the connection", "smtp", promise=5, lasts=8, mails=True)
def mail_server_drops_after_data(rig: Rig) -> Iterator[None]:
    yield from _scripted(rig, Drop(Stage.CONTENT))


def _scripted(rig: Rig, fault: Fault) -> Iterator[None]:
    rig.mails.script(*[fault] * _MANY)
    yield
    rig.mails.script()
