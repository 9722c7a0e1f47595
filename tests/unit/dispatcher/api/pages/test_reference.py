"""What the documentation page says is what the OpenAPI document says."""

import json
import shlex
from typing import Any

from dispatcher.api.pages.reference import Operation, groups_of
from tests.api_document import DOCUMENT
from tests.each import each

OPERATIONS = {operation.id: operation for group in groups_of(DOCUMENT) for operation in group.operations}


def described(operation: Operation) -> Any:
    return DOCUMENT["paths"][operation.path][operation.method.lower()]


def test_all_operations_are_in_their_groups() -> None:
    assert {(operation.method.lower(), operation.path) for operation in OPERATIONS.values()} == {
        (method, path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }
    for group in groups_of(DOCUMENT):
        assert {described(operation)["tags"][0] for operation in group.operations} == {group.name}


@each("operation", OPERATIONS.values())
def test_a_call_is_a_line_for_a_shell_with_the_example_as_its_body(operation: Operation) -> None:
    words = shlex.split(operation.curl.replace("\\\n", " "))
    assert words[0] == "curl"
    given = {option: words[at + 1] for at, option in enumerate(words) if option in {"-X", "-H", "-d"}}
    assert given.get("-X", "POST" if "-d" in given else "GET") == operation.method
    assert ("Authorization: Bearer $TOKEN" in words) == bool(operation.scopes)
    (address,) = [word for word in words if word.startswith("$API/")]
    assert "{" not in address
    content = described(operation).get("requestBody", {}).get("content", {})
    if "application/json" in content:
        assert json.loads(given["-d"]) == content["application/json"]["example"]
    elif content:
        pairs = dict(word.split("=", 1) for word in words if "=" in word)
        assert pairs == content["application/x-www-form-urlencoded"]["example"]


def body(schema: dict[str, Any], **schemas: Any) -> list[tuple[str, str, bool]]:
    """Name, type and whether it is required, of each member of a body with this schema."""
    operation = {
        "operationId": "a",
        "tags": ["t"],
        "summary": "s",
        "description": "d",
        "responses": {},
        "requestBody": {"content": {"application/json": {"schema": schema, "example": 1}}},
    }
    document = {
        "tags": [{"name": "t", "description": "d"}],
        "paths": {"/a": {"post": operation}},
        "components": {"schemas": schemas},
    }
    shown = groups_of(document)[0].operations[0].body
    assert shown is not None
    return [(member.name, member.type, member.required) for member in shown.members]


def test_members_within_members_have_dotted_names() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3}}}
    schema = {
        "type": "object",
        "required": ["one"],
        "properties": {
            "one": {"$ref": "#/components/schemas/Inner"},
            "many": {"type": "array", "items": inner, "maxItems": 2},
            "free": {"type": "object", "additionalProperties": inner},
            "perhaps": {"anyOf": [inner, {"type": "null"}]},
        },
    }
    number = "integer, 1 to 9; default `3`"
    assert body(schema, Inner=inner) == [
        ("one", "object", True),
        ("one.b", number, False),
        ("many", "list of object, at most 2", False),
        ("many[].b", number, False),
        ("free", "object", False),
        ("free.*.b", number, False),
        ("perhaps", "object or null", False),
        ("perhaps.b", number, False),
    ]


def test_members_of_one_of_several_objects_say_of_which() -> None:
    kinds = [
        {"type": "object", "title": name, "properties": {"kind": {"const": name}, name: {"type": "string"}}}
        for name in ("basic", "bearer")
    ]
    schema = {"type": "object", "properties": {"way": {"anyOf": [{"oneOf": kinds}, {"type": "null"}]}}}
    assert [name for name, *_ in body(schema)] == [
        "way",
        "way (basic).kind",
        "way (basic).basic",
        "way (bearer).kind",
        "way (bearer).bearer",
    ]


def test_a_schema_that_holds_itself_comes_to_an_end() -> None:
    endless = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Endless"}}}
    assert len(body(endless, Endless=endless)) < 10
