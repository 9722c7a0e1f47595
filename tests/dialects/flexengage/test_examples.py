"""flexEngage's page, run: every example answer, and every code sample of the shell and of Python."""

import json
import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from requests.exceptions import JSONDecodeError
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.ids import time_of
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.dialects import golden_files
from tests.dialects.flexengage.conftest import TYPE, FlexEngage
from tests.dialects.shell import shell_with
from tests.factories import deliver_all, rows
from tests.receiver import Receiver

HERE = Path(__file__).parent
ANSWER = b'{"example": "response json"}'

_SAMPLE = re.compile(r"^## (\w+) (\S+)\n\n```shell\n(.*?)^```\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAMPLES = {f"{method} {path}": (sh, py) for method, path, sh, py in _SAMPLE.findall((HERE / "samples.md").read_text())}
# The results of the samples. They send no body, so some cannot succeed. Answers without a body end the vendor's own
# samples in Python with an error, with the real service, too.
BODYLESS = {"POST /v1/{brandId}/webhooks": 422, "PATCH /v1/{brandId}/webhooks/{id}": 422}
EMPTY = {"DELETE /v1/{brandId}/webhooks/{id}": 204, "POST /v1/{brandId}/webhooks/{id}/events/{eventId}/retry": 202}


def time_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def object_of(lines: str) -> str:
    return json.dumps(dict(line.split(": ", 1) for line in lines.split("\n")))


def test_every_example_is_answered_as_it_stands(
    flexengage: FlexEngage, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    files = sorted((HERE / "golden").glob("*.http"))
    assert len(files) == 18
    receiver.script("/my/webhook/endpoint", Answer(200, (("Content-Type", "application/json"),), ANSWER))

    def values() -> dict[str, str]:
        """The values that differ from run to run, from the database."""
        values: dict[str, str] = {
            "origin": flexengage.origin,
            "token": flexengage.token,
            "receiver": receiver.origin,
        }
        for webhook in rows(database, "SELECT * FROM dispatcher.webhooks"):
            values |= {"id": str(webhook.id)}
            values |= {"created": time_text(webhook.created_at), "updated": time_text(webhook.updated_at)}
        for event in rows(
            database,
            "SELECT e.*, d.finished_at FROM dispatcher.events e JOIN dispatcher.deliveries d ON d.event_id = e.id",
        ):
            # Its identifier's time: the row may be written in the next second.
            values |= {"event": str(event.id), "event_created": time_text(time_of(event.id))}
            values |= {"event_updated": time_text(event.finished_at)} if event.finished_at else {}
        for request in rows(database, "SELECT * FROM dispatcher.requests"):
            values |= {"attempt": str(request.id), "attempt_created": time_text(request.started_at)}
            values |= {"sent": object_of(request.headers_masked), "answered": object_of(request.answer_headers)}
            values |= {"time": str(round(request.duration / timedelta(milliseconds=1)))}
        return values

    for file in files:
        if file.name == "08-switch.http":
            enqueue(TYPE, {"message": "I am an SMS message"}, account="acme")
            deliver_all(settings)
        golden_files.check(file, golden_files.ask(file, flexengage.origin, values()), values)
    (callback,) = receiver.received
    (kept,) = rows(database, "SELECT headers_masked FROM dispatcher.requests")
    sent = dict(callback.headers)
    assert {"Host", "Content-Length"} <= sent.keys()
    assert json.loads(object_of(kept.headers_masked)).items() <= sent.items()


def call_of(flexengage: FlexEngage) -> dict[str, str]:
    """The values for the placeholders of a sample: a webhook with one event."""
    webhook = flexengage.create(f"https://example.com/{uuid4()}")
    event = enqueue(TYPE, 1, account="acme").event_id
    return {
        "https://api.flexengage-test.com": f"{flexengage.origin}/flexengage",
        "{brandId}": "acme",
        "{id}": webhook["id"],
        "{eventId}": str(event),
        "{access-token}": flexengage.token,
    }


def filled(text: str, placeholders: dict[str, str]) -> str:
    for name, value in placeholders.items():
        text = text.replace(name, value)
    return text


def test_there_is_a_sample_for_every_call() -> None:
    assert len(SAMPLES) == 8
    assert {*BODYLESS, *EMPTY} < SAMPLES.keys()


@pytest.mark.parametrize("program", ["curl", "stand-in"])
def test_every_sample_of_the_shell_is_answered(flexengage: FlexEngage, tmp_path: Path, program: str) -> None:
    run = shell_with(program, tmp_path)
    for sample, (command, _) in SAMPLES.items():
        printed = run(filled(command, call_of(flexengage))).strip()
        if sample in EMPTY:
            assert printed == ""
        elif sample in BODYLESS:
            document = json.loads(printed)
            names = ("enabled",) if sample.startswith("PATCH") else ("endpoint", "events")
            assert document["status"] == BODYLESS[sample]
            assert document["validations"] == {name: f"{name} is required" for name in names}
        else:
            assert "status" not in json.loads(printed) or "attempts" in json.loads(printed)


def test_every_sample_of_python_is_answered(flexengage: FlexEngage, capsys: pytest.CaptureFixture[str]) -> None:
    for sample, (_, code) in SAMPLES.items():
        names: dict[str, Any] = {}
        with pytest.raises(JSONDecodeError) if sample in EMPTY else nullcontext():
            exec(filled(code, call_of(flexengage)), names)
        answered = names["r"]
        assert answered.status_code == (BODYLESS | EMPTY).get(sample, 200)
        assert (answered.content == b"") == (sample in EMPTY)
        assert bool(capsys.readouterr().out) == (sample not in EMPTY)
