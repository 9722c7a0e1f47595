"""The operations of the API, read from its own route tables, so that tests that walk them miss no new route."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount


@dataclass(frozen=True, slots=True)
class Operation:
    """A method at a path; `prefix` is the prefix of a dialect, or empty."""

    prefix: str
    method: str
    path: str

    def at(self, values: Mapping[str, object], default: object) -> str:
        """The path with these values for its parameters."""
        return self.prefix + re.sub(r"\{(\w+)\}", lambda name: str(values.get(name[1], default)), self.path)


def operations_of(app: FastAPI, prefix: str = "") -> Iterator[Operation]:
    """All operations of the app and of the apps mounted in it."""
    for context in iter_route_contexts(app.routes):
        match context.original_route:
            case Mount(app=FastAPI() as mounted, path=path):
                yield from operations_of(mounted, prefix + path)
            case APIRoute():
                for method in sorted(context.methods or ()):
                    yield Operation(prefix, method, context.path_format or "")
