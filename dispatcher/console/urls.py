"""Addresses of pages, wherever console and portal are mounted."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from starlette.requests import Request

from dispatcher.console.kinds import Kind


def url_of(request: Request, path: str, query: Mapping[str, object] | None = None) -> str:
    """The address of a page of the same face. Members of the query without a value are left out."""
    given = {name: value for name, value in (query or {}).items() if value not in {None, ""}}
    address = quote(f"{request.scope.get('root_path', '')}{path}", safe="/:@!$&'()*+,;=~-._")
    return f"{address}?{urlencode(given)}" if given else address


def url_at(request: Request, path: str) -> str:
    """The address of a path of the same face that may have a query."""
    place, _, query = path.partition("?")
    return f"{url_of(request, place)}?{query}" if query else url_of(request, place)


def url_of_face(request: Request, kind: Kind) -> str:
    """The start page of a face, which may be the other one: both are mounted side by side."""
    mounted: str = request.scope.get("root_path", "")
    return f"{quote(mounted.rpartition('/')[0], safe='/')}/{kind}/"


def path_of(request: Request) -> str:
    """The path of a request below the mount, with its query."""
    root = request.scope.get("root_path", "")
    path: str = request.scope["path"].removeprefix(root) or "/"
    query = request.scope.get("query_string", b"").decode("latin-1")
    return f"{path}?{query}" if query else path
