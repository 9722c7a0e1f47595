"""The API's description as docs/openapi.json has it: tests/unit/test_openapi.py holds it to be what the API says. To
describe the API anew takes long in each process that collects tests."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(FILE.read_text())
