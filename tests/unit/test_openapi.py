"""docs/openapi.json is what the API says of itself: of each operation all that a reader and a generator need."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
from typer.testing import CliRunner

from dispatcher.accounts.api_keys import Scope
from dispatcher.api.examples import ANSWERS, BODIES
from dispatcher.api.pages.reference import groups_of
from dispatcher.cli.app import app
from tests.api_document import DOCUMENT, FILE
from tests.each import each

COMPONENTS = {"components": DOCUMENT["components"]}
OPERATIONS: dict[str, Any] = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
SHOWN = {shown.id: shown for group in groups_of(DOCUMENT) for shown in group.operations}
# Nobody's key is looked at.
OPEN = {"GET /healthz", "GET /readyz"}
PROBLEM = {"$ref": "#/components/schemas/Problem"}

CLOSED = [call for call in OPERATIONS if call not in OPEN]


def test_the_file_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["openapi"]).output
    assert FILE.read_text() == printed, "the API's description changed: ./run.sh openapi >docs/openapi.json"


def test_every_reference_leads_to_something() -> None:
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

    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references(DOCUMENT) <= known


# What the document says of itself


def test_it_says_where_the_api_is_what_it_is_and_under_which_license() -> None:
    assert DOCUMENT["servers"] == [{"url": "/", "description": "This installation."}]
    assert DOCUMENT["info"].keys() >= {"title", "version", "description", "license"}


def test_every_group_is_described_and_has_an_operation() -> None:
    described = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert all(described.values())
    assert described.keys() == {tag for operation in OPERATIONS.values() for tag in operation["tags"]}


def test_each_way_to_show_a_key_is_described_with_all_scopes() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {(scheme["type"], scheme["scheme"]) for scheme in schemes.values()} == {
        ("http", "bearer"),
        ("http", "basic"),
    }
    for scheme in schemes.values():
        assert {f"`{scope}`" for scope in Scope} <= set(re.findall(r"`\w+`", scheme["description"]))


# What it says of each operation


def test_no_two_operations_have_one_id() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids) > 30


@each("operation", OPERATIONS.values())
def test_an_operation_has_a_plain_id_one_group_a_summary_and_a_description(operation: Any) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"])
    assert len(operation["tags"]) == 1
    assert 5 < len(operation["summary"]) < 90
    assert len(operation["description"]) > 10


@each("operation", OPERATIONS.values())
def test_each_parameter_is_described(operation: Any) -> None:
    assert [one["name"] for one in operation.get("parameters", []) if not one.get("description")] == []


@each("call", OPERATIONS)
def test_an_operation_names_the_one_scope_that_it_asks_for(call: str) -> None:
    security = OPERATIONS[call].get("security", [])
    if call == "POST /oauth2/token":
        assert security == [{"Basic": []}, {}]  # the key can stand in the form
    elif call in OPEN:
        assert security == []
    else:
        ((scope,),) = {tuple(scopes) for way in security for scopes in way.values()}
        assert [list(way) for way in security] == [["Bearer"], ["Basic"]]
        assert scope in set(Scope)


@each("call", CLOSED)
def test_an_operation_describes_what_its_errors_look_like(call: str) -> None:
    operation = OPERATIONS[call]
    refused = {status: answer for status, answer in operation["responses"].items() if status >= "4"}
    must = {"401", "429", "503"}
    if call != "POST /oauth2/token":  # what it refuses otherwise is told as its specification says
        must |= {"403", "422"}
    if "requestBody" in operation:
        must |= {"400", "408", "413"}
    if "{" in call:
        must |= {"404"}
    assert refused.keys() >= must
    for status, answer in refused.items():
        assert answer["description"].endswith(".")
        if call == "POST /oauth2/token" and status in {"400", "401"}:
            continue
        content = answer["content"]
        assert list(content) == ["application/problem+json"]
        problem = content["application/problem+json"]
        assert problem["schema"] == PROBLEM
        assert str(problem["example"]["status"]) == status


# What client generators make types of


def test_a_schema_has_the_name_that_a_type_can_have() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert [name for name in schemas if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", name)] == []
    assert [name for name, schema in schemas.items() if schema["title"] not in {name, name.removesuffix("Input")}] == []


def objects_without_a_name(part: Any, *, named: bool = False) -> Iterator[Any]:
    """The objects with known members that are described where they are used."""
    if isinstance(part, dict):
        if "properties" in part and part.get("type") == "object" and not named:
            yield part
        for value in part.values():
            yield from objects_without_a_name(value)
    elif isinstance(part, list):
        for value in part:
            yield from objects_without_a_name(value)


def test_every_object_is_described_once_under_a_name() -> None:
    assert list(objects_without_a_name(DOCUMENT["paths"])) == []
    for schema in DOCUMENT["components"]["schemas"].values():
        assert list(objects_without_a_name(schema, named=True)) == []


def test_no_two_schemas_are_the_same() -> None:
    bare = {
        name: json.dumps({key: value for key, value in schema.items() if key not in {"title", "description"}})
        for name, schema in DOCUMENT["components"]["schemas"].items()
    }
    assert len(set(bare.values())) == len(bare)


def test_only_where_a_thing_is_sent_can_members_be_left_out() -> None:
    """So a thing that is also shown has a second schema there."""
    schemas = DOCUMENT["components"]["schemas"]
    both = [name for name in schemas if f"{name}Input" in schemas]
    assert "DeliveryContract" in both
    assert sum(name.endswith("Input") for name in schemas) == len(both)
    for shown, sent in ((schemas[name], schemas[f"{name}Input"]) for name in both):
        assert shown["properties"].keys() == sent["properties"].keys()
        assert shown["required"] == list(shown["properties"])
        assert len(sent.get("required", [])) < len(shown["required"])


@each("operation", OPERATIONS.values())
def test_a_parameter_is_never_null(operation: Any) -> None:
    assert [one["name"] for one in operation.get("parameters", []) if "null" in json.dumps(one["schema"])] == []


def test_an_answer_has_all_members_but_a_problem_may_name_no_fields() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Problem"]["properties"].keys() - schemas["Problem"]["required"] == {"errors"}
    assert schemas["AuthorizationDocument"]["required"] == list(schemas["AuthorizationDocument"]["properties"])


def test_what_programs_must_not_show_is_marked() -> None:
    marked = {
        (name, member)
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for member, described in schema.get("properties", {}).items()
        if '"password"' in json.dumps(described) and "$ref" not in json.dumps(described)
    }
    assert marked == {
        ("BasicBody", "password"),
        ("BearerBody", "token"),
        ("ClientCredentialsBody", "client_secret"),
        ("NewKeyDocument", "token"),
        *((name, "signing_key") for name in ("NewWebhook", "Rotation")),
        *((name, secret) for name in ("NewWebhook", "WebhookChanges") for secret in ("body_secret", "nonce_secret")),
        ("PortalLinkDocument", "url"),
        ("SigningKeyDocument", "secret"),
        ("TokenAnswer", "access_token"),
        ("TokenForm", "client_secret"),
        ("WebhookSecretsDocument", "url"),
    }


@each("call", CLOSED)
def test_an_answer_that_says_later_says_when(call: str) -> None:
    for status in ("429", "503"):
        assert list(OPERATIONS[call]["responses"][status]["headers"]) == ["Retry-After"]


# Examples


def contents(operation: Any) -> Iterator[tuple[str, Any]]:
    """(where it is, what it holds) for the body and each answer of an operation."""
    yield from (("body", content) for content in operation.get("requestBody", {}).get("content", {}).values())
    for status, answer in operation["responses"].items():
        yield from ((status, content) for content in answer.get("content", {}).values())


@each("operation", OPERATIONS.values())
def test_the_body_and_each_answer_have_an_example_that_fits_their_schema(operation: Any) -> None:
    for where, content in contents(operation):
        assert "example" in content, where
        validator = jsonschema_rs.validator_for({**content["schema"], **COMPONENTS}, validate_formats=True)
        faults = [
            f"{where}: {fault.instance_path} {fault.message}" for fault in validator.iter_errors(content["example"])
        ]
        assert faults == []


@each("operation", OPERATIONS.values())
def test_an_example_of_an_answer_has_all_members_and_no_other(operation: Any) -> None:
    for where, content in contents(operation):
        if where != "body":
            assert_members(content["schema"], content["example"], where)


def assert_members(schema: Any, example: Any, where: str) -> None:
    """Down to the last member: those of objects are the schema's, but for problems, whose `errors` are optional."""
    schema = resolved(schema)
    if schema.get("title") == "Problem":
        assert example.keys() - {"errors"} == schema["properties"].keys() - {"errors"}
        return
    for choice in schema.get("anyOf", []) + schema.get("oneOf", []):
        if jsonschema_rs.is_valid({**choice, **COMPONENTS}, example):
            assert_members(choice, example, where)
    if isinstance(example, list):
        for item in example:
            assert_members(schema["items"], item, where)
    if isinstance(example, dict) and "properties" in schema:
        assert example.keys() == schema["properties"].keys(), where
        for name, value in example.items():
            assert_members(schema["properties"][name], value, f"{where}.{name}")


def resolved(schema: Any) -> Any:
    name = schema.get("$ref", "").rpartition("/")[2]
    return DOCUMENT["components"]["schemas"][name] if name else schema


def test_no_example_is_left_over() -> None:
    bodies = {operation["operationId"] for operation in OPERATIONS.values() if "requestBody" in operation}
    assert BODIES.keys() == bodies
    answers = {
        f"{operation['operationId']} {status}" for operation in OPERATIONS.values() for status in operation["responses"]
    }
    assert {name for name in ANSWERS if " " in name} <= answers
    assert {name for name in ANSWERS if " " not in name} <= {name.partition(" ")[0] for name in answers}


@each("operation", OPERATIONS.values())
def test_each_member_of_a_body_is_described(operation: Any) -> None:
    shown = SHOWN[operation["operationId"]]
    members = shown.body.members if shown.body is not None else []
    assert [member.name for member in members if not member.description] == []


def test_no_answer_is_described_by_the_frameworks_words() -> None:
    assert "Successful Response" not in FILE.read_text()


# Newer versions may add schedules. Of the form for tokens only what fits a key is looked at.
UNBOUNDED = {
    *("DeliveryContractInput.schedule", "ContractChanges.schedule"),
    *(f"TokenForm.{member}" for member in ("client_id", "client_secret", "scope")),
}


def test_each_text_list_and_object_that_a_request_may_have_says_how_large_it_may_be() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    bodies = set(named([operation.get("requestBody") for operation in OPERATIONS.values()]))
    while more := {name for body in bodies for name in named(schemas[body])} - bodies:
        bodies |= more
    assert len(bodies) > 20
    assert {place for body in bodies for place in unbounded(schemas[body], body)} == UNBOUNDED


def named(part: Any) -> Iterator[str]:
    """The schemas that a part of the document refers to."""
    if isinstance(part, dict) and "$ref" in part:
        yield part["$ref"].rpartition("/")[2]
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from named(inner)


def unbounded(schema: dict[str, Any], place: str) -> Iterator[str]:
    """Where a schema has no bound."""
    bounds = {
        "string": {"maxLength", "enum", "const"} | ({"format"} if schema.get("format") != "password" else set()),
        "array": {"maxItems"},
        "object": {"maxProperties", "properties"},
    }
    if not bounds.get(schema.get("type", ""), set(schema)) & set(schema):
        yield place
    for name, member in schema.get("properties", {}).items():
        yield from unbounded(member, f"{place}.{name}")
    inner = [schema.get("items"), schema.get("additionalProperties"), *schema.get("prefixItems", ())]
    for one in [found for found in inner if isinstance(found, dict)]:
        yield from unbounded(one, f"{place}[]")
    for one in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        yield from unbounded({**schema, "anyOf": (), "oneOf": (), **one}, place)
