"""The generated part of `dispatcher.client` is what deploy/client_code.py makes of docs/openapi.json."""

import json
import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
CODE: dict[str, Any] = runpy.run_path(str(ROOT / "deploy/client_code.py"))
DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs/openapi.json").read_text())


def test_the_files_are_what_the_program_writes() -> None:
    client = ROOT / "dispatcher/client"
    written = CODE["written"](DOCUMENT)
    there = {
        path.relative_to(client).as_posix(): path
        for folder in CODE["FOLDERS"]
        for path in client.glob(f"{folder}/*.py")
    }
    there["clients.py"] = client / "clients.py"
    advice = "the API's description changed: .venv/bin/python deploy/client_code.py"
    assert written.keys() == there.keys(), advice
    assert [name for name, path in there.items() if path.read_text() != written[name]] == [], advice


def test_what_may_be_sent_twice_is_a_post_of_the_document() -> None:
    posts = {operations["post"]["operationId"] for operations in DOCUMENT["paths"].values() if "post" in operations}
    assert CODE["REPEATABLE"].keys() <= posts
