"""docs/openapi.json is what the API says of itself."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from dispatcher.asgi import create_app
from dispatcher.cli.app import app

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_file_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["openapi"]).output
    assert FILE.read_text() == printed, "the API's description changed: ./run.sh openapi >docs/openapi.json"


def test_every_reference_leads_to_something() -> None:
    document = create_app().openapi()

    def references(part: Any) -> set[str]:
        match part:
            case {"$ref": str(reference)}:
                return {reference}
            case dict():
                return set().union(*map(references, part.values()))
            case list():
                return set().union(*map(references, part))
            case _:
                return set()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known


def test_every_route_of_the_api_tells_what_its_errors_look_like() -> None:
    for path, operations in json.loads(FILE.read_text())["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/v1/"):
                continue
            refused = {status: answer for status, answer in operation["responses"].items() if status >= "4"}
            assert refused.keys() >= {"401", "403", "422", "503"}, f"{method} {path}"
            for answer in refused.values():
                schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
                assert answer["content"] == {"application/problem+json": schema}
