"""Run with the code of 0.2.0 on the path: does what it is told in lines of JSON on standard input, and answers in lines
of JSON. It uses only what that version has."""

import json
import os
import sys
import threading
import time
from pathlib import Path
from uuid import UUID

import uvicorn

answers = os.fdopen(os.dup(1), "w", buffering=1)
sys.stdout = sys.stderr  # log lines

import dispatcher  # noqa: E402
from dispatcher import enqueue  # noqa: E402
from dispatcher.accounts.actor import CommandLine  # noqa: E402
from dispatcher.accounts.api_keys import Scope, create_key  # noqa: E402
from dispatcher.asgi import create_app  # noqa: E402
from dispatcher.db.version import check_migrated, newest_migration  # noqa: E402
from dispatcher.installation import Installation  # noqa: E402
from dispatcher.settings import read_settings  # noqa: E402
from dispatcher.webhooks.registration import change, register  # noqa: E402
from workers.loop import DeliveryLoop  # noqa: E402
from workers.maintenance.sweep import sweep  # noqa: E402
from workers.maintenance.upkeep import upkeep  # noqa: E402
from workers.process import Worker  # noqa: E402

BY = CommandLine("old")
installation = Installation(read_settings())
worker = Worker(installation)


def serve() -> str:
    """Begins to serve its API; returns the origin."""
    server = uvicorn.Server(uvicorn.Config(create_app(installation), port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


def do(action: str, *given: object) -> object:  # noqa: PLR0911 - one for each order
    """Carries out one order."""
    match action, given:
        case "register", (str(account), str(url)):
            return str(register(installation, account, by=BY, url=url, event_types=["*"]).id)
        case "move", (str(webhook), str(url)):
            return change(installation, None, UUID(webhook), by=BY, url=url).webhook.version
        case "store", (str(account), int(first), int(end)):
            return sum(enqueue("message.sent", {"n": n}, account=account).deliveries for n in range(first, end))
        case "deliver", ():
            return DeliveryLoop(worker).run()["delivered"]
        case "maintain", ():
            upkeep(installation.engine, installation.clock, circuit_breakers=True)
            return sweep(installation.engine, installation.waker, installation.timing)
        case "make a key", (str(account),):
            with installation.transaction() as session:
                scopes = [Scope.READ, Scope.SEND, Scope.MANAGE]
                return create_key(session, by=BY, account=account, scopes=scopes).token
        case "serve", ():
            return serve()
    raise ValueError(action)


with installation.engine.connect() as connection:
    check_migrated(connection)
print(json.dumps([str(Path(dispatcher.__file__).parents[1]), newest_migration()]), file=answers)
for line in sys.stdin:
    print(json.dumps(do(*json.loads(line))), file=answers)
