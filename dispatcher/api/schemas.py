"""One schema for each thing in the OpenAPI document: client generators make a type of each, and name it alike. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

PLACE = "#/components/schemas/"


def operations_of(document: Mapping[str, Any]) -> Iterator[Any]:
    """Every operation of a document."""
    for operations in document["paths"].values():
        yield from operations.values()


def gather(document: dict[str, Any]) -> None:
    """Moves the schemas of bodies, and those within them, to the document's components, where those of answers are. A
    thing that is both sent and shown has two, if members may be left out only where it is sent."""
    schemas = document["components"]["schemas"]
    _name_by_title(document)
    for schema in schemas.values():
        if "properties" in schema:
            # An answer always has all of its members; a problem, which may lack one, describes itself.
            schema["required"] = list(schema["properties"])
    shown = dict(schemas)
    for operation in operations_of(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            name, moved = _moved(content["schema"], shown)
            for one, schema in moved.items():
                assert schemas.setdefault(one, schema) == schema, f"two bodies are called {one}"
            content["schema"] = {"$ref": PLACE + name}


def leave_null_out(document: dict[str, Any]) -> None:
    """Parameters are never null: a request cannot send that, it is how the server sees one that is left out."""
    for operation in operations_of(document):
        for parameter in operation.get("parameters", []):
            match parameter["schema"]:
                case {"anyOf": [schema, {"type": "null"}], **others}:
                    parameter["schema"] = {**schema, **others}


def _name_by_title(document: dict[str, Any]) -> None:
    """The framework calls a page of events `Page_EventDocument_`."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    names = {name: schema["title"] for name, schema in schemas.items()}
    assert len(set(names.values())) == len(names), f"two schemas have one title: {sorted(names)}"
    document["paths"] = _renamed(document["paths"], names)
    renamed = {names[name]: _renamed(schema, names) for name, schema in schemas.items()}
    schemas.clear()
    schemas |= renamed


def _moved(schema: dict[str, Any], shown: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A body's name, and its schemas by their names, beside those of answers."""
    given = {**schema.pop("$defs", {}), schema["title"]: schema}
    differ = {name for name in given if given[name] != shown.get(name, given[name])}
    names = {name: f"{name}Input" if name in differ else name for name in given}
    return names[schema["title"]], {names[name]: _renamed(definition, names) for name, definition in given.items()}


def _renamed(part: Any, names: Mapping[str, str]) -> Any:
    match part:
        case str() if part.startswith(PLACE):
            name = part.removeprefix(PLACE)
            return PLACE + names.get(name, name)
        case dict():
            return {name: _renamed(value, names) for name, value in part.items()}
        case list():
            return [_renamed(value, names) for value in part]
        case _:
            return part
