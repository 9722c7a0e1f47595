"""The help of a command: one line an option, as wide as the terminal, up to 100 columns."""

import textwrap
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

PROGRAM = "dispatcher"

Panels: TypeAlias = Mapping[str, Mapping[str, str]]  # heading -> word -> what it is for

_WIDEST = 100
_WIDEST_LABEL = 30
_LONGEST_LIST = 100  # characters of choices beside an option; longer lists are below the options
_VALUES = {int: "NUMBER", float: "NUMBER", UUID: "ID"}
# In place of Typer's texts, so that each fits on one line.
_TEXTS = {
    "install_completion": "Install completion for this shell",
    "show_completion": "Print what would be installed for it",
    "help": "Show this page",
}


class Command(TyperCommand):
    """A command with a help page of this form."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(_page(self, ctx, {}))


class Group(TyperGroup):
    """A group of commands. Its help lists `panels`."""

    panels: Panels

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(_page(self, ctx, self.panels))


class Commands(typer.Typer):
    """The commands of one module. `command_tree` says where each belongs."""

    def command(  # type: ignore[override]
        self, name: str | None = None, **options: Any
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        return super().command(name, cls=Command, **options)


def _page(command: Any, context: Any, panels: Panels) -> str:
    to = Console(highlight=False, markup=False, emoji=False)
    to.width = min(to.width, _WIDEST)
    program = context.find_root().info_name
    parameters = [each for each in command.get_params(context) if not each.hidden]
    parameters.sort(key=lambda each: each.param_type_name != "argument")
    sections = {name: list(words.items()) for name, words in panels.items()}
    for each in parameters:
        sections.setdefault(each.rich_help_panel or _panel(each), []).append((_label(each), _text(each)))
    lists = [f"{_value(each)} is one of {', '.join(choices_of(each))}." for each in parameters if _is_long(each)]
    epilog = (command.epilog or "").replace(f" {PROGRAM} ", f" {program} ")
    with to.capture() as captured:
        _print(to, f"Usage: {_usage(command, context)}", style="bold", hanging=7)
        for paragraph in (command.help or "").replace(f"`{PROGRAM} ", f"`{program} ").split("\n\n"):
            to.print()
            _print(to, " ".join(paragraph.split()))
        _print_sections(to, sections)
        for number, line in enumerate([*lists, *filter(None, epilog.split("\n\n"))]):
            if number == 0:
                to.print()
            if line.startswith("Example: "):
                _print_command(to, line)
            else:
                _print(to, line, hanging=2)
    return captured.get()


def _usage(command: Any, context: Any) -> str:
    words = [context.command_path]
    words += [_label(each) for each in command.params if each.param_type_name == "option" and each.required]
    words.append("[OPTIONS]")
    for argument in (each for each in command.params if each.param_type_name == "argument"):
        words.append(_value(argument) if argument.required else f"[{_value(argument)}]")
    if hasattr(command, "commands"):
        words.append("[COMMAND]" if command.invoke_without_command else "COMMAND")
    return " ".join(words)


def _panel(parameter: Any) -> str:
    return "Arguments" if parameter.param_type_name == "argument" else "Options"


def _label(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _value(parameter)
    names = sorted(parameter.opts, key=len)
    for no in parameter.secondary_opts:
        names[-1] = f"--[no-]{names[-1][2:]}" if no == f"--no-{names[-1][2:]}" else f"{names[-1]}/{no}"
    several = "..." if parameter.multiple else ""
    return " ".join([", ".join(names), *([] if parameter.is_flag else [_value(parameter) + several])])


def _value(parameter: Any) -> str:
    choices = "|".join(choices_of(parameter))
    if not choices or parameter.metavar is not None:
        return str(parameter.metavar or _VALUES.get(parameter.type_descriptor.annotation, "TEXT"))
    name = name_of(parameter)
    return choices if len(f"{name} {choices}") <= _WIDEST_LABEL else name[2:].upper()


def name_of(parameter: Any) -> str:
    """The name of an option or argument."""
    return _value(parameter) if parameter.param_type_name == "argument" else str(max(parameter.opts, key=len))


def choices_of(parameter: Any) -> list[str]:
    """The values to choose from. Empty if it takes any value."""
    return [str(each.value if isinstance(each, Enum) else each) for each in parameter.type_descriptor.choices or ()]


def _is_long(parameter: Any) -> bool:
    return len(", ".join(choices_of(parameter))) > _LONGEST_LIST


def _text(parameter: Any) -> str:
    text = _TEXTS.get(parameter.name) or (parameter.help or "").rstrip(".")
    choices = choices_of(parameter)
    low, high = parameter.min, parameter.max
    if low is not None:
        text += f", {low:.12g} to {high:.12g}" if high is not None else f", at least {low:.12g}"
    default = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    shown = None if default in (None, False, ()) else str(getattr(default, "value", default))
    if _is_long(parameter):
        return f"{text}, see below"
    if choices and "|".join(choices) != _value(parameter):
        return f"{text}: {', '.join(f'{each} (default)' if each == shown else each for each in choices)}"
    if shown is not None:
        text += f", default {shown}"
    return f"{text}, required" if parameter.required and parameter.param_type_name == "option" else text


def _print_sections(to: Console, sections: Mapping[str, list[tuple[str, str]]]) -> None:
    lengths = [len(label) for rows in sections.values() for label, _ in rows]
    column = max(length for length in lengths if length <= _WIDEST_LABEL) + 4
    for name, rows in sections.items():
        to.print()
        to.print(Text(name, style="bold"))
        for label, text in rows:
            first, *others = _wrapped(text, to.width - column) or [""]
            to.print(Text(f"  {label}  ".ljust(column), style="cyan").append(first, style="default"), no_wrap=True)
            for line in others:
                to.print(Text(" " * column + line), no_wrap=True)


def _print(to: Console, text: str, *, style: str = "", hanging: int = 0) -> None:
    for line in _wrapped(text, to.width, " " * hanging):
        to.print(Text(line, style=style), no_wrap=True)


def _print_command(to: Console, text: str) -> None:
    """A command that is too long for one line is printed so that a shell takes both lines as one."""
    *lines, last = _wrapped(text, to.width - 2, "  ")
    for line in (*(f"{line} \\" for line in lines), last):
        to.print(Text(line), no_wrap=True)


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)
