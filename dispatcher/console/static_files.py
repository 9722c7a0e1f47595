"""The console's own files. Each has the hash of its content in its name, so browsers keep it for ever."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from dispatcher.errors import NotFound

TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "png": "image/png"}
_KEPT = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is served."""

    name: str  # with its hash
    media_type: str
    content: bytes
    packed: bytes


@cache
def static_files() -> Mapping[str, StaticFile]:
    """All of them, by their name in the package."""
    found = {}
    for file in (files("dispatcher.console") / "static").iterdir():
        stem, _, ending = file.name.rpartition(".")
        if ending in TYPES:
            content = file.read_bytes()
            name = f"{stem}.{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
            found[file.name] = StaticFile(name, TYPES[ending], content, gzip.compress(content, mtime=0))
    return found


@cache
def _by_name() -> Mapping[str, StaticFile]:
    return {file.name: file for file in static_files().values()}


async def get_static(request: Request) -> Response:
    """The file of this name, of the pages or of the platform. Raises NotFound."""
    name = request.path_params["name"]
    file = _by_name().get(name) or request.app.state.rendering.brand.files.get(name)
    if file is None:
        raise NotFound("file", name)
    headers = {"Cache-Control": _KEPT, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)
