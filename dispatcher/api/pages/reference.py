"""An OpenAPI document for people: groups of operations with their parameters, members and examples. Pure."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_DEEPEST = 4  # levels of members within members
_SHORT = 90  # characters of an example that stays on one line


@dataclass(frozen=True, slots=True)
class Member:
    """A parameter, or a member of a body or an answer. A nested member has a dotted name."""

    name: str
    type: str
    required: bool
    description: str
    place: str = ""  # of a parameter: path, query, header


@dataclass(frozen=True, slots=True)
class Content:
    """What a body or an answer contains."""

    media_type: str
    members: Sequence[Member]
    example: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One status; `content` is None where there is no body."""

    status: str
    description: str
    content: Content | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. `scopes`: what a key needs; None if no key is needed."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    scopes: Sequence[str] | None
    parameters: Sequence[Member]
    body: Content | None
    answers: Sequence[Answer]
    errors: Sequence[Answer]
    curl: str


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that belong together."""

    name: str
    description: str
    operations: Sequence[Operation]

    @property
    def id(self) -> str:
        """Its anchor."""
        return f"group-{self.name.replace(' ', '-')}"


def groups_of(document: Schema) -> list[Group]:
    """The document's operations by tag, in the order of its tags and paths."""
    operations = [
        (described["tags"][0], _operation(document, method, path, described))
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
    return [
        Group(tag["name"], tag["description"], [operation for name, operation in operations if name == tag["name"]])
        for tag in document["tags"]
    ]


def _operation(document: Schema, method: str, path: str, described: Schema) -> Operation:
    body = described.get("requestBody")
    answers = [_answer(document, status, answer) for status, answer in sorted(described["responses"].items())]
    security = described.get("security")
    return Operation(
        id=described["operationId"],
        method=method.upper(),
        path=path,
        summary=described["summary"],
        description=described["description"],
        scopes=[scope for scopes in security[0].values() for scope in scopes] if security is not None else None,
        parameters=[_parameter(document, parameter) for parameter in described.get("parameters", [])],
        body=_content(document, body) if body is not None else None,
        answers=[answer for answer in answers if answer.status < "4"],
        errors=[answer for answer in answers if answer.status >= "4"],
        curl=_curl(method.upper(), path, described),
    )


def _parameter(document: Schema, parameter: Schema) -> Member:
    # Null is only the internal value of a parameter that is left out; a request cannot send it.
    return Member(
        parameter["name"],
        _type(document, parameter["schema"]).replace(" or null", ""),
        parameter.get("required", False),
        parameter.get("description", ""),
        parameter["in"],
    )


def _answer(document: Schema, status: str, answer: Schema) -> Answer:
    return Answer(status, answer["description"], _content(document, answer) if answer.get("content") else None)


def _content(document: Schema, holder: Schema) -> Content:
    ((media_type, content),) = holder["content"].items()
    example = content.get("example")
    shown = json.dumps(example, indent=2, ensure_ascii=False) if example is not None else None
    return Content(media_type, list(_members(document, content["schema"])), shown)


def _members(document: Schema, schema: Schema, within: str = "", depth: int = 0) -> Iterator[Member]:
    """The members of an object, and of the objects in it: `[]` marks those of a list's items, `.*` those of an object
    with arbitrary names."""
    for prefix, choice in _objects(document, schema, within):
        required = choice.get("required", ())
        for name, member in choice["properties"].items():
            full = f"{prefix}{'.' if prefix else ''}{name}"
            yield Member(full, _type(document, member), name in required, _description(document, member))
            if depth < _DEEPEST:
                yield from _members(document, member, full, depth + 1)


def _objects(document: Schema, schema: Schema, within: str) -> Iterator[tuple[str, Schema]]:
    choices = list(_choices(document, schema))
    objects = [choice for choice in choices if "properties" in choice]
    for choice in choices:
        if "properties" in choice:
            yield f"{within} ({_kind(choice)})" if len(objects) > 1 else within, choice
        elif isinstance(items := choice.get("items"), Mapping):
            yield from _objects(document, items, f"{within}[]")
        elif isinstance(free := choice.get("additionalProperties"), Mapping):
            yield from _objects(document, free, f"{within}.*")


def _choices(document: Schema, schema: Schema) -> Iterator[Schema]:
    """What a value can be: the schema itself, or each of its alternatives."""
    resolved = _resolved(document, schema)
    alternatives = resolved.get("anyOf") or resolved.get("oneOf")
    if alternatives is None:
        yield resolved
        return
    for alternative in alternatives:
        yield from _choices(document, alternative)


def _kind(schema: Schema) -> str:
    """What distinguishes one of several objects: the constant value of a member, or else its title."""
    constants = (member["const"] for member in schema["properties"].values() if "const" in member)
    return str(next(constants, schema["title"]))


def _type(document: Schema, schema: Schema) -> str:
    """The type in words, with its bounds."""
    choices = _choices(document, schema)
    return " or ".join(dict.fromkeys(_plain_type(document, choice) for choice in choices)) + _default(schema)


def _plain_type(document: Schema, schema: Schema) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("items")
        of = f" of {_type(document, items)}" if isinstance(items, Mapping) and "prefixItems" not in items else ""
        return f"list{of}{_bounds(schema, 'Items', '')}"
    name = schema.get("format", schema.get("type", "anything"))
    return f"{name}{_bounds(schema, 'Length', ' characters')}{_range(schema)}"


def _bounds(schema: Schema, what: str, unit: str) -> str:
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    match least, most:
        case None, None:
            return ""
        case None, _:
            return f", at most {most:,}{unit}"
        case _, None:
            return f", at least {least:,}{unit}"
        case _:
            return f", {least:,} to {most:,}{unit}"


def _range(schema: Schema) -> str:
    if "minimum" not in schema or "maximum" not in schema:
        return ""
    return f", {schema['minimum']:,} to {schema['maximum']:,}"


def _default(schema: Schema) -> str:
    return f"; default `{json.dumps(schema['default'])}`" if schema.get("default") is not None else ""


def _description(document: Schema, schema: Schema) -> str:
    found: str = _resolved(document, schema).get("description", "")
    return found


def _resolved(document: Schema, schema: Schema) -> Schema:
    """The schema that a reference points to."""
    if "$ref" not in schema:
        return schema
    found: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}


def _curl(method: str, path: str, described: Schema) -> str:
    """The call for a shell that has `API` and `TOKEN` set. Ids in the path are variables, too."""
    address = path.replace("{", "$").replace("}", "")
    for parameter in described.get("parameters", []):
        if parameter["in"] == "path":
            address = address.replace(f"${parameter['name']}", f"${parameter['name'].upper()}")
    words = ["curl", f'"$API{address}"']
    content: Schema = described.get("requestBody", {}).get("content", {})
    if method != ("POST" if content else "GET"):
        words[1:1] = ["-X", method]
    lines = [" ".join(words)]
    if any(way.get("Bearer") for way in described.get("security", [])):
        lines[0] += ' -H "Authorization: Bearer $TOKEN"'
    for media_type, body in content.items():
        if media_type == "application/json":
            lines.append("-H 'Content-Type: application/json'")
            short = json.dumps(body["example"], ensure_ascii=False)
            shown = short if len(short) < _SHORT else json.dumps(body["example"], indent=2, ensure_ascii=False)
            lines.append(f"-d {shlex.quote(shown)}")
        else:
            lines.append(" ".join(f"-d {name}={shlex.quote(value)}" for name, value in body["example"].items()))
    return " \\\n  ".join(lines)
