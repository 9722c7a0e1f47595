"""The kinds of faults: how each begins and ends. A new kind is a class here, and a line in the plan."""

import base64
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from uuid import UUID

from sqlalchemy import Connection, text

from benchmarks.copies import copy_webhook
from dispatcher.encryption.vault import Place
from dispatcher.ids import new_id
from tests.dead_ports import refusing_port
from tests.faults import poison
from tests.faults.ledgers import Role, Window
from tests.faults.plan import Plan, Step
from tests.faults.rig import Rig

STEADY = "storm.steady"  # the type of the innocent events
SHOPS = tuple(f"shop-{number}" for number in range(4))
GIANT_BYTES = 250_000
GIANTS, TROUBLED_EVENTS = 40, 30  # events of one fault


def furnish_shops(rig: Rig) -> None:
    """Makes accounts with three healthy webhooks each: one takes batches, and one has a rate limit."""
    for shop in SHOPS:
        rig.make_account(shop)
        rig.register(shop, f"/ok/{shop}/alone", STEADY, "storm.alone")
        rig.register(shop, f"/ok/{shop}/batches", STEADY, "storm.batches", contract={"batch_size": 10})
        rig.register(shop, f"/ok/{shop}/paced", STEADY, "storm.paced", contract={"rate_limit": 200})


def furnish(rig: Rig, plan: Plan) -> None:
    """Makes the accounts and their webhooks. Those whose receivers misbehave belong to the first shop."""
    furnish_shops(rig)
    for answer in poison.IN_ANSWERS:
        rig.register(SHOPS[0], poison.PATH + answer, f"storm.{answer.replace(':', '.')}")
    rig.register(SHOPS[0], "/hang/one", "storm.hang")
    rig.register(SHOPS[0], "/refused/one", "storm.refuse", origin=f"http://127.0.0.1:{refusing_port()}")
    rig.register(SHOPS[0], "/slow/3000/one", "storm.slow")
    rig.register(SHOPS[0], "/switch/one", "storm.switch")
    rig.make_account("giants")
    rig.register("giants", "/ok/giants", "storm.giant", contract={"batch_size": 100})
    if any(step.kind == "crowd" for step in plan.steps):
        rig.make_account("crowd")
        first = rig.register("crowd", "/ok/crowd", "storm.crowd")
        copy_webhook(rig.installation, UUID(first), {new_id(): ["storm.crowd"] for _ in range(plan.crowd - 1)})
        rig.execute("ANALYZE dispatcher.webhooks, dispatcher.subscriptions")


class Faults:
    """Begins and ends the steps of a plan."""

    def __init__(self, rig: Rig, plan: Plan) -> None:
        self._rig, self._plan = rig, plan
        self._chance = random.Random(plan.seed)
        self._held: dict[Step, tuple[ExitStack, Window]] = {}
        self._odd = 0

    def begin(self, step: Step) -> None:
        begins: dict[str, Callable[[Step], None]] = {
            "poison": self._poison,
            "kill-child": lambda _: self._rig.kill_child("deliver", self._chance.random()),
            "kill-node": lambda step: self._rig.restart(step.variant, lease=self._plan.lease),
            "kill-api": lambda _: self._rig.restart_sender("api"),
            "kill-backend": lambda _: self._rig.restart_sender("backend"),
            "kill-postgres": self._crash,
            "giants": self._giants,
            "odd-rows": self._odd_rows,
            "locks": self._lock,
            "crowd": lambda _: self._rig.send(Role.CROWD, "crowd", "storm.crowd"),
            "hosts": self._hosts,
        }
        begins[step.kind](step)

    def end(self, step: Step) -> None:
        """Ends what lasts."""
        if step in self._held:
            held, window = self._held.pop(step)
            held.close()
            self._rig.windows.append(Window(window.what, window.began, time.monotonic(), window.grace, window.only))
        if step.variant == "switch":
            self._rig.control("off")

    def end_all(self) -> None:
        for step in list(self._held):
            self.end(step)

    def _crash(self, _: Step) -> None:
        self.end_all()  # locks die with their connection
        self._rig.crash_database(lease=self._plan.lease)

    def _poison(self, step: Step) -> None:
        """A poisoned message beside healthy ones for the same webhooks; or a receiver whose answers are poison."""
        role = Role.KILLS if poison.is_deadly(step.variant) else Role.RAISES
        if step.variant in poison.IN_ANSWERS:
            self._rig.send(role, SHOPS[0], f"storm.{step.variant.replace(':', '.')}")
        else:
            shop, kind = self._chance.choice(SHOPS), self._chance.choice(("alone", "batches", "paced"))
            self._rig.send(role, shop, f"storm.{kind}", poison.marker(step.variant))

    def _giants(self, _: Step) -> None:
        for _number in range(GIANTS):
            body = base64.b64encode(self._chance.randbytes(GIANT_BYTES * 3 // 4)).decode()
            self._rig.send(Role.GIANT, "giants", "storm.giant", body)

    def _hosts(self, step: Step) -> None:
        if step.variant == "switch":
            self._rig.control("on")
        for _ in range(TROUBLED_EVENTS):
            self._rig.send(Role.TROUBLED, SHOPS[0], f"storm.{step.variant}")

    def _lock(self, step: Step) -> None:
        """Waits a moment for rows of this kind: claimed ones are claimed for milliseconds."""
        held = ExitStack()
        connection = held.enter_context(
            self._rig.database.connect().execution_options(isolation_level="READ COMMITTED")
        )
        held.callback(connection.rollback)
        deadline = time.monotonic() + 1
        while not (found := _locked(connection, step.variant)) and time.monotonic() < deadline:
            connection.rollback()
            time.sleep(0.01)
        now = time.monotonic()
        self._held[step] = held, Window(f"{step.variant} locked", now, now, grace=15.0, only=found)

    def _odd_rows(self, step: Step) -> None:
        """A new webhook that nobody has read yet, changed behind the product's back."""
        self._odd += 1
        rig, event_type = self._rig, f"storm.odd.{self._odd}"
        contact = f"odd-{self._odd}@example.com"
        webhook = rig.register(SHOPS[0], f"/ok/odd/{self._odd}", event_type, contact_email=contact)
        match step.variant:
            case "secrets-member":
                vault, place = rig.installation.vault, Place("webhooks", "secrets_ciphertext", webhook)
                (row,) = rig.rows("SELECT secrets_ciphertext FROM dispatcher.webhooks WHERE id = :id", id=webhook)
                document = vault.decrypt_document(bytes(row.secrets_ciphertext), place)
                keys = [{**key, "newer": {"member": 1}} for key in document["signing_keys"]]
                changed = vault.encrypt_document({**document, "signing_keys": keys, "newer": [1]}, place)
                rig.execute(
                    "UPDATE dispatcher.webhooks SET secrets_ciphertext = :to WHERE id = :id", id=webhook, to=changed
                )
            case "secrets-junk":
                rig.execute(r"UPDATE dispatcher.webhooks SET secrets_ciphertext = '\x00ff' WHERE id = :id", id=webhook)
            case "contract-member":
                newer = """contract || '{"newer": {"member": 1}}'"""
                rig.execute(f"UPDATE dispatcher.webhooks SET contract = {newer} WHERE id = :id", id=webhook)
            case "contract-type":
                rig.execute("""UPDATE dispatcher.webhooks SET contract = '{"rules": 7}' WHERE id = :id""", id=webhook)
            case "format":
                rig.execute("UPDATE dispatcher.webhooks SET format = 99 WHERE id = :id", id=webhook)
            case "notice-kind":
                rig.execute(
                    """
                    INSERT INTO dispatcher.notices
                      (id, webhook_id, kind, fingerprint, observed_at, delivery_id, due_at)
                    VALUES (:notice, :id, 'newer_kind', 'newer', now(), :delivery, now())""",
                    notice=new_id(),
                    id=webhook,
                    delivery=new_id(),
                )
                self._expect_mail()
        for _ in range(3):
            rig.send(Role.TROUBLED, SHOPS[0], event_type)

    def _expect_mail(self) -> None:
        """A receiver that fails, whose contact must hear of it."""
        contact = f"failing-{self._odd}@example.com"
        origin = f"http://127.0.0.1:{refusing_port()}"
        event_type = f"storm.failing.{self._odd}"
        self._rig.register(SHOPS[0], f"/refused/{self._odd}", event_type, origin=origin, contact_email=contact)
        self._rig.send(Role.TROUBLED, SHOPS[0], event_type)
        self._rig.expected_mails.append(contact)


_ROWS = {
    "claimed": "SELECT id FROM dispatcher.deliveries WHERE state = 'claimed' ORDER BY claimed_until LIMIT 20",
    "ready": "SELECT id FROM dispatcher.deliveries WHERE state = 'ready' ORDER BY due_at LIMIT 20",
    "circuit-breakers": "SELECT webhook_id FROM dispatcher.circuit_breakers",
    "rates": "SELECT webhook_id FROM dispatcher.rates",
}


def _locked(connection: Connection, variant: str) -> frozenset[str]:
    rows = connection.execute(text(f"{_ROWS[variant]} FOR UPDATE SKIP LOCKED"))
    return frozenset(str(id_) for (id_,) in rows)
