"""What makes the portal look like the platform's own: its name, its logo, and its colour."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.console.kinds import Kind
from dispatcher.console.static_files import TYPES, StaticFile
from dispatcher.settings import Settings
from dispatcher.settings.accents import DARK, WHITE, mix, on_dark

OURS = "dispatcher"


@dataclass(frozen=True, slots=True)
class Brand:
    """Of one face. `logo` and `style` are served with the pages' own files."""

    name: str = OURS
    logo: StaticFile | None = None
    style: StaticFile | None = None

    @property
    def files(self) -> Mapping[str, StaticFile]:
        """Its files by the names under which they are asked for."""
        return {file.name: file for file in (self.logo, self.style) if file is not None}


def brand_of(kind: Kind, settings: Settings) -> Brand:
    """The platform's for its customers; operators see ours. Raises OSError for a logo that is no longer there."""
    if kind is Kind.CONSOLE:
        return Brand()
    logo, accent = settings.portal_logo, settings.portal_accent
    return Brand(
        settings.portal_name or OURS,
        _file(logo.suffix[1:].lower(), logo.read_bytes()) if logo is not None else None,
        _file("css", style_of(accent).encode()) if accent else None,
    )


def style_of(accent: str) -> str:
    """The rules of a colour, after the pages' own."""
    light = f"--accent: {accent}; --accent-deep: {mix(accent, DARK, 0.25)}; --link: {accent}; --focus: {accent}"
    bright = on_dark(accent)
    deep = mix(bright, WHITE, 0.25)
    dark = f"--accent: {bright}; --accent-deep: {deep}; --link: {bright}; --focus: {bright}; --on-accent: {DARK};"
    return (
        f":root {{ {light}; --on-accent: #fff; }}\n"
        f':root[data-theme="dark"] {{ {dark} }}\n'
        f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {dark} }} }}\n'
    )


def _file(ending: str, content: bytes) -> StaticFile:
    name = f"brand.{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
    return StaticFile(name, TYPES[ending], content, gzip.compress(content, mtime=0))
