"""Templates to answers: everything in them is escaped, a missing value is an error, and all their texts can be
translated."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import cache, cached_property
from gettext import NullTranslations
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dispatcher.console import charts, figures
from dispatcher.console.brand import Brand
from dispatcher.console.cookies import look_of, zone_of
from dispatcher.console.kinds import Kind
from dispatcher.console.static_files import static_files
from dispatcher.console.urls import path_of, url_at, url_of
from dispatcher.console.words import Words, parts_of
from dispatcher.masking.terminal import safe_text

_ENGLISH = NullTranslations()


_QUESTION = "question"  # of `confirm.html` the element with this id is more than the block of this name, its heading


class Rendering:
    """The templates of one face."""

    def __init__(
        self,
        kind: Kind,
        pages: Collection[str],
        brand: Callable[[], Brand],
        translations: NullTranslations | None = None,
    ) -> None:
        """`pages` are the paths that there are, for what leads to them; `brand` is asked once, with the first page."""
        self.kind, self._pages, self._read_brand = kind, pages, brand
        self._translations = translations or _ENGLISH
        self._environment = _environment(self._translations)

    @cached_property
    def brand(self) -> Brand:
        """What the pages call themselves, and how that looks."""
        return self._read_brand()

    def words(self, request: Request) -> Words:
        """How values are written for whoever asks."""
        return Words(zone_of(request), datetime.now(UTC), self._translations)

    def part(self, request: Request, template: str) -> str | None:
        """The block of the template that the request wants; None: the page."""
        return _part(request, self._environment.get_template(template).blocks)

    def answer(
        self,
        request: Request,
        template: str,
        values: Mapping[str, object],
        *,
        status: int = HTTPStatus.OK,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The page; for a request of htmx only the block whose name is the id of the element that it is for, if the
        template has one."""
        made = self._environment.get_template(template)
        theme, zone = look_of(request)
        context = {
            "kind": self.kind,
            "words": self.words(request),
            "here": path_of(request),
            "to": lambda path, **query: url_of(request, path, query),
            "at": lambda path: url_at(request, path),
            "again": lambda **query: url_of(request, path_of(request).partition("?")[0], _with(request, query)),
            "theme": theme,
            "zone": zone,
            "view": None,
            "done": None,
            "pages": self._pages,
            "name": self.brand.name,
            "brand": self.brand,
            "part": self.part(request, template),
            **values,
        }
        return HTMLResponse(made.render(context), status, headers=headers)


def _part(request: Request, blocks: Collection[str]) -> str | None:
    """The block that a request of htmx is for."""
    target = unquote(request.headers.get("hx-target", "").partition("#")[2])
    is_part = target in blocks and target != _QUESTION
    return target if "hx-request" in request.headers and is_part else None


def _with(request: Request, changes: Mapping[str, object]) -> Mapping[str, object]:
    """The query of the request with changes; without its cursor, which belongs to the list as it was."""
    kept = {name: value for name, value in request.query_params.items() if name not in {"cursor", "done"}}
    return {**kept, **changes}


@cache
def _environment(translations: NullTranslations) -> Environment:
    environment = Environment(
        loader=PackageLoader("dispatcher.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]
    environment.policies["ext.i18n.trimmed"] = True
    for name in ("number", "moment", "whole", "ago", "span", "size"):
        environment.filters[name] = _worded(name)
    environment.filters |= {"foreign": foreign, "lines": _lines, "parts": parts_of}
    environment.globals |= {
        "static": {name: file.name for name, file in static_files().items()},
        "bars": charts.bars,
        "lines": charts.lines,
        "spark": charts.spark,
        "outcome_bars": figures.outcome_bars,
        "answer_dots": figures.answer_dots,
        "hour_bars": figures.hour_bars,
    }
    for template in environment.list_templates(extensions=["html"]):
        environment.get_template(template)
    return environment


def _worded(name: str) -> Any:
    @pass_context
    def write(context: Context, value: object) -> str:
        return str(getattr(context["words"], name)(value))

    return write


def foreign(text: object) -> str:
    """Text that others wrote, with what would reorder or hide it as visible escapes; on one line."""
    return safe_text(str(text))


def _lines(text: object) -> str:
    return safe_text(str(text), lines=True)
